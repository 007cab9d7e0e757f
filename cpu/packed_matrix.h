// SPDX-License-Identifier: Apache-2.0
// A weight matrix re-laid for the kernels of gemm.h. docs/decisions/0009-packed-weights.md says why this way.
//
// 16 consecutive outputs form a panel. A panel holds, input by input, the 16 weights of its outputs side by
// side, in the type that they have in the file; outputs are padded to whole panels with zeros. A vector of
// weights thus belongs to one input and to consecutive outputs, so an output's sum needs no sum across lanes,
// and a panel is read from end to end.
//
// Inputs are summed in blocks of 256: the sum of a block starts from zero, and the blocks' sums are added in
// order. That is where the scale of a block will be applied when weights are quantised.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "cpu/thread_pool.h"
#include "weights/tensor.h"

namespace ttt::cpu {

inline constexpr std::size_t kPanelOutputs = 16;
inline constexpr std::size_t kBlockInputs = 256;

class PackedMatrix {
 public:
  PackedMatrix() = default;  // absent: no outputs
  // Each thread writes, and so places in its own memory, the panels that it will compute with.
  // REQUIRES: extents [out, in], with ones between; F32, F16 or BF16. Throws std::bad_alloc.
  PackedMatrix(const weights::TensorView& tensor, ThreadPool& pool);

  // Of such a matrix, without making it.
  static std::uint64_t planned_bytes(const weights::TensorView& tensor);

  weights::DType dtype() const { return dtype_; }
  std::size_t num_outputs() const { return num_outputs_; }
  std::size_t num_inputs() const { return num_inputs_; }
  std::size_t num_panels() const { return (num_outputs_ + kPanelOutputs - 1) / kPanelOutputs; }
  std::size_t bytes() const { return num_panels() * panel_bytes(); }
  // [num_inputs][16] weights, aligned to 32 bytes (F16, BF16) or 64 (F32).
  const std::byte* panel(std::size_t index) const { return data_.get() + index * panel_bytes(); }

  // The weights of one output, [num_inputs] floats.
  void read_output(std::size_t output, float* to) const;

 private:
  std::size_t panel_bytes() const { return num_inputs_ * kPanelOutputs * element_bytes_; }

  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };

  weights::DType dtype_ = weights::DType::kF32;
  std::size_t element_bytes_ = 0;
  std::size_t num_outputs_ = 0;
  std::size_t num_inputs_ = 0;
  std::unique_ptr<std::byte[], Free> data_;
};

}  // namespace ttt::cpu
