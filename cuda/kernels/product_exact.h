// SPDX-License-Identifier: Apache-2.0
// y = x W^T, or y += x W^T, in fp32. Every output is one chain of fused multiply-adds over the inputs in
// order, so that a row's result depends on that row alone, bit by bit, however many rows come with it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/kernels/matrix.h"

namespace ttt::cuda {

struct ProductParams {
  Matrix weight;   // [outputs, inputs]
  const float* x;  // [num_rows, inputs]
  float* y;        // [num_rows, outputs]
  std::uint32_t num_rows;
  bool adds;  // to what is in y
};
void launch_product_exact(const ProductParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
