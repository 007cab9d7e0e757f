// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "cuda/kernels/matrix.h"

namespace ttt::cuda {

// y = x W^T, or y += x W^T.
struct Product {
  Matrix weight;            // [outputs, inputs]
  const void* x = nullptr;  // [num_rows, inputs] in the type weight.operands
  float* y = nullptr;       // [num_rows, outputs]
  std::uint32_t num_rows = 0;
  bool adds = false;
};

}  // namespace ttt::cuda
