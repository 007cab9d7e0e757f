// SPDX-License-Identifier: Apache-2.0
// y = x W^T for any number of rows. An output is one sum in one fixed order (packed_matrix.h), so its bits do
// not depend on how many rows there are, on the number of threads, or on the width of a vector.
#pragma once

#include <cstddef>

#include "cpu/block_gemm.h"
#include "cpu/packed_matrix.h"
#include "cpu/thread_pool.h"

namespace ttt::cpu {

// Scratch of one thread, in floats: a block of x (128 rows of 256 inputs), two panels' blocks as fp32, and a
// tile of outputs.
inline constexpr std::size_t kGemmScratch = 128 * kBlockInputs + 2 * kBlockInputs * kPanelOutputs + 1024;

// x of one or more products. The first whose weights are in blocks quantises it, for all that follow.
class GemmInputs {
 public:
  // x [num_rows, num_inputs]. `quantised` has room for it, which the products of other weights leave alone.
  // Neither is copied.
  GemmInputs(const float* x, std::size_t num_rows, std::size_t num_inputs, QuantisedBuffer& quantised)
      : x_(x), num_rows_(num_rows), num_inputs_(num_inputs), quantised_(&quantised) {}

  void prepare_for(const PackedMatrix& w, ThreadPool& pool);
  std::size_t num_rows() const { return num_rows_; }
  // REQUIRES: prepared for the weights that they meet.
  GemmRows rows(std::size_t begin, std::size_t end) const {
    const QuantisedRows all{quantised_->inputs(), quantised_->pairs()};
    return {x_ + begin * num_inputs_, end - begin, all + begin, num_rows_};
  }

 private:
  const float* x_;
  std::size_t num_rows_, num_inputs_;
  QuantisedBuffer* quantised_;
  bool is_quantised_ = false;
};

// y [num_rows, num_outputs] = x [num_rows, num_inputs] * w^T. `scratch`: kGemmScratch floats for each thread,
// aligned to 64 bytes.
void gemm(ThreadPool& pool, const PackedMatrix& w, GemmInputs& x, float* y, float* scratch);

// The same for panels [begin, end) in the calling thread alone; other outputs of y stay as they are.
void gemm_panels(const PackedMatrix& w, std::size_t begin, std::size_t end, const GemmRows& x, float* y,
                 float* scratch);

}  // namespace ttt::cpu
