// SPDX-License-Identifier: Apache-2.0
// y = x W^T for any number of rows. An output is one sum in one fixed order (packed_matrix.h), so its bits do
// not depend on how many rows there are, on the number of threads, or on the width of a vector.
#pragma once

#include <cstddef>
#include <span>

#include "cpu/block_gemm.h"
#include "cpu/packed_matrix.h"
#include "cpu/thread_pool.h"

namespace ttt::cpu {

// Of many rows: so many at a time while all panels pass, so that their inputs stay in the second-level cache.
inline constexpr std::size_t kRowBlock = 128;

// Scratch of one thread, in floats: a block of x (kRowBlock rows of 256 inputs), two panels' blocks as fp32,
// and a tile of outputs.
inline constexpr std::size_t kGemmScratch =
    kRowBlock * kBlockInputs + 2 * kBlockInputs * kPanelOutputs + 1024;

// x of one or more products, quantised for those whose weights are in blocks.
class GemmInputs {
 public:
  // x [num_rows, num_inputs]. `quantised` has room for it, which the products of other weights leave alone.
  // Neither is copied.
  GemmInputs(const float* x, std::size_t num_rows, std::size_t num_inputs, QuantisedBuffer& quantised)
      : x_(x), num_rows_(num_rows), num_inputs_(num_inputs), quantised_(&quantised) {}

  std::size_t num_rows() const { return num_rows_; }
  // Of a row, each of kBlockInputs inputs or what is left.
  std::size_t num_blocks() const { return (num_inputs_ + kBlockInputs - 1) / kBlockInputs; }

  // One block, or all of a row, once x has it: so whoever computes x can quantise it where it lies in a
  // cache.
  void quantise(std::size_t row, std::size_t block) const;
  void quantise(std::size_t row) const {
    for (std::size_t block = 0; block < num_blocks(); ++block) quantise(row, block);
  }
  void quantise_all(ThreadPool& pool) const;

  // REQUIRES: quantised where they meet weights in blocks.
  GemmRows rows(std::size_t begin, std::size_t end) const {
    const QuantisedRows all{quantised_->inputs(), quantised_->pairs()};
    return {x_ + begin * num_inputs_, end - begin, all + begin, num_rows_};
  }

 private:
  const float* x_;
  std::size_t num_rows_, num_inputs_;
  QuantisedBuffer* quantised_;
};

// y [num_rows, num_outputs] = x [num_rows, num_inputs] * w^T
struct Product {
  const PackedMatrix* w;
  float* y;
};

// Whether the products want their inputs quantised.
bool wants_quantised(std::span<const Product> products);

// Many rows fall into so many groups, [num_rows * g / groups, num_rows * (g + 1) / groups): a thread computes
// whole rows rather than some outputs of all, so that what it reads and writes next lies in its own caches.
// Threads share a group where there are fewer groups.
std::size_t num_row_groups(std::size_t num_rows, std::size_t num_threads);

// Up to ThreadPool::kMaxLists products of the same inputs, in one job of the threads: none waits for the
// others between them. `scratch`: kGemmScratch floats for each thread, aligned to 64 bytes. REQUIRES: x
// quantised where wants_quantised() says so.
void gemm(ThreadPool& pool, std::span<const Product> products, const GemmInputs& x, float* scratch);

// The same for panels [begin, end) in the calling thread alone; other outputs of y stay as they are.
void gemm_panels(const PackedMatrix& w, std::size_t begin, std::size_t end, const GemmRows& x, float* y,
                 float* scratch);

}  // namespace ttt::cpu
