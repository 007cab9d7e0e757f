// SPDX-License-Identifier: Apache-2.0
// The products of a step: which kernel multiplies a matrix.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/kernels/matrix.h"

namespace ttt::cuda {

struct Product {
  Matrix weight;            // [outputs, inputs]
  const void* x = nullptr;  // [num_rows, inputs] in the type weight.operands
  float* y = nullptr;       // [num_rows, outputs]
  std::uint32_t num_rows = 0;
  bool adds = false;  // y += x W^T in place of y = x W^T
};

// Puts them on a stream. A row's result is bitwise the same however many rows come with it.
class Products {
 public:
  explicit Products(cudaStream_t stream) : stream_(stream) {}

  void run(const Product& product) const;

 private:
  cudaStream_t stream_;
};

// Whether tensor cores multiply rows of so many elements: both operands are read 16 bytes at a time.
constexpr bool can_multiply_half(std::uint32_t inputs) { return inputs % 8 == 0; }

}  // namespace ttt::cuda
