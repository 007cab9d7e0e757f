// SPDX-License-Identifier: Apache-2.0
// The products of a step: which kernel multiplies a matrix.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "cuda/kernels/operand_rows.h"
#include "cuda/library_products.h"
#include "cuda/product.h"

namespace ttt::cuda {

// out = silu(x gate^T) * (x up^T)
struct GatedProduct {
  Matrix gate, up;          // [outputs, inputs], of one shape
  const void* x = nullptr;  // [num_rows, inputs] in the type that both multiply
  OperandRows out;          // [num_rows, outputs]
  std::uint32_t num_rows = 0;
};

// Puts them on a stream. A row's result is bitwise the same however many rows come with it, but for those
// that the library does.
class Products {
 public:
  // `library` may be null: then the own kernels do all.
  Products(cudaStream_t stream, const LibraryProducts* library) : stream_(stream), library_(library) {}

  void run(const Product& product) const;

  // Products of the same rows, in any order; of few rows in one launch for each type of matrix.
  // REQUIRES: at most kMostTogether.
  void run_together(std::span<const Product> products) const;

  // Few rows of matrices of one type: else false, and nothing is done.
  bool run_gated(const GatedProduct& product) const;

 private:
  cudaStream_t stream_;
  const LibraryProducts* library_;
};

// Whether tensor cores multiply rows of so many elements: both operands are read 16 bytes at a time.
constexpr bool can_multiply_half(std::uint32_t inputs) { return inputs % 8 == 0; }

}  // namespace ttt::cuda
