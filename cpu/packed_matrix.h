// SPDX-License-Identifier: Apache-2.0
// A weight matrix re-laid for the kernels of gemm.h. docs/decisions/0009-packed-weights.md says why this way.
//
// 16 consecutive outputs form a panel. A panel holds, input by input, the 16 weights of its outputs side by
// side, in the type that they have in the file; outputs are padded to whole panels with zeros (blocks: with
// scales of zero). A vector of weights thus belongs to one input and to consecutive outputs, so an output's
// sum needs no sum across lanes, and a panel is read from end to end.
//
// Inputs are summed in blocks of 256: the sum of a block starts from zero, and the blocks' sums are added in
// order. Quantised weights keep their blocks of 32 or 256 inputs inside of those: docs/decisions/0010, 0013.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cpu/large_buffer.h"
#include "cpu/thread_pool.h"
#include "weights/block_types.h"
#include "weights/tensor.h"

namespace ttt::cpu {

inline constexpr std::size_t kPanelOutputs = 16;
inline constexpr std::size_t kBlockInputs = 256;
// Of matrices one after another, in memory or in a file.
inline constexpr std::size_t kMatrixAlignment = 4096;
constexpr std::uint64_t aligned(std::uint64_t offset) {
  return (offset + kMatrixAlignment - 1) / kMatrixAlignment * kMatrixAlignment;
}

// Added to signed bytes: products of bytes want unsigned weights.
inline constexpr int kByteOffset = 128;

// Blocks of a panel. A vector holds fours of neighbouring inputs of consecutive outputs. Two blocks of 32
// inputs lie together, so that vectors of 64 bytes are whole cache lines; the last of an odd number has a
// neighbour of zeros.
struct PanelBlocksQ8_0 {
  static constexpr std::size_t kBlocks = 2;
  std::uint16_t scales[kBlocks][kPanelOutputs];  // F16
  // The quant + kByteOffset.
  std::uint8_t quants[kBlocks][weights::kBlockWeights / 4][kPanelOutputs][4];
};
struct PanelBlocksQ4_0 {
  static constexpr std::size_t kBlocks = 2;
  std::uint16_t scales[kBlocks][kPanelOutputs];
  // Eight inputs share four bytes: byte j has the quant + 8 of input j in its lower half, of input j + 4
  // above.
  std::uint8_t quants[kBlocks][weights::kBlockWeights / 8][kPanelOutputs][4];
};
// One block of 256 inputs.
struct PanelBlocksQ4_K {
  static constexpr std::size_t kBlocks = 1;
  std::uint16_t scales[kPanelOutputs], minimums[kPanelOutputs];  // F16
  // Four parts in three words: each of the first three has its part's scale in bits 0 to 5 and its minimum in
  // bits 6 to 11; those 12 bits of the fourth part lie in the words' upper four, the lowest first.
  std::uint16_t parts[2][3][kPanelOutputs];
  std::uint8_t quants[weights::kKBlockWeights / 8][kPanelOutputs][4];  // as above, without the 8
};
struct PanelBlocksQ6_K {
  static constexpr std::size_t kBlocks = 1;
  std::uint16_t scales[kPanelOutputs];  // F16
  std::int8_t part_scales[weights::kKBlockWeights / weights::BlockQ6_K::kPart][kPanelOutputs];
  // Each four of inputs is two pairs, its inputs 0 and 2, then 1 and 3. A part's eight pairs of quant + 32 in
  // three words: word k has pair 2k in bits 0 to 5 and pair 2k + 1 in bits 6 to 11; the 12 bits of pairs 6
  // and 7 lie in the words' upper four, the lowest first.
  std::uint16_t quants[weights::kKBlockWeights / weights::BlockQ6_K::kPart][3][kPanelOutputs][2];
};
static_assert(sizeof(PanelBlocksQ8_0) ==
              PanelBlocksQ8_0::kBlocks * kPanelOutputs * sizeof(weights::BlockQ8_0));
static_assert(sizeof(PanelBlocksQ4_0) ==
              PanelBlocksQ4_0::kBlocks * kPanelOutputs * sizeof(weights::BlockQ4_0));
static_assert(sizeof(PanelBlocksQ4_K) ==
              PanelBlocksQ4_K::kBlocks * kPanelOutputs * sizeof(weights::BlockQ4_K));
static_assert(sizeof(PanelBlocksQ6_K) ==
              PanelBlocksQ6_K::kBlocks * kPanelOutputs * sizeof(weights::BlockQ6_K));

class PackedMatrix {
 public:
  PackedMatrix() = default;  // absent: no outputs
  // Each thread writes, and so places in its own memory, the panels that it will compute with.
  // REQUIRES: extents [out, in], with ones between; a type of weights (element_type.h). Throws
  // std::bad_alloc.
  PackedMatrix(const weights::TensorView& tensor, ThreadPool& pool);
  // The same in memory of others, planned_bytes() of it, aligned as panel() says, that outlives the matrix.
  PackedMatrix(const weights::TensorView& tensor, ThreadPool& pool, std::byte* to);
  // Of such a tensor, packed before; memory as above.
  PackedMatrix(const weights::TensorView& tensor, std::span<const std::byte> packed);

  // Of such a matrix, without making it.
  static std::uint64_t planned_bytes(const weights::TensorView& tensor);

  weights::DType dtype() const { return dtype_; }
  std::size_t num_outputs() const { return num_outputs_; }
  std::size_t num_inputs() const { return num_inputs_; }
  std::size_t num_panels() const { return (num_outputs_ + kPanelOutputs - 1) / kPanelOutputs; }
  std::size_t bytes() const { return num_panels() * panel_bytes_; }
  // [num_inputs][16] weights, aligned to 32 bytes (F16, BF16) or 64 (F32); or blocks, aligned to 32 (Q6_K)
  // or 64.
  const std::byte* panel(std::size_t index) const { return data_ + index * panel_bytes_; }
  // All panels.
  std::span<const std::byte> packed() const { return {data_, bytes()}; }

  // The weights of one output, [num_inputs] floats.
  void read_output(std::size_t output, float* to) const;

 private:
  // Type and extents, without panels.
  explicit PackedMatrix(const weights::TensorView& tensor);
  PackedMatrix(const weights::TensorView& tensor, ThreadPool& pool, LargeBuffer own);
  void pack_panels(const weights::TensorView& tensor, std::size_t begin, std::size_t end,
                   std::byte* to) const;

  weights::DType dtype_ = weights::DType::kF32;
  std::size_t block_inputs_ = 1;  // as dtype_info() says
  std::size_t block_bytes_ = 0;
  std::size_t num_outputs_ = 0;
  std::size_t num_inputs_ = 0;
  std::size_t panel_bytes_ = 0;
  LargeBuffer own_;  // where the panels are the matrix's own
  const std::byte* data_ = nullptr;
};

}  // namespace ttt::cpu
