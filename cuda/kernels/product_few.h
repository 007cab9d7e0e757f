// SPDX-License-Identifier: Apache-2.0
// Products of few rows, as in decoding: the weights are read once, by all multiprocessors at full speed, and
// everything else is small beside that. Those of block types become fp16 on the way, each rounded once.
// Several matrices that multiply the same rows go in one launch, because one alone does not fill a GPU.
// Results are bitwise product_mma's (product_quantised's).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "cuda/kernels/matrix.h"
#include "cuda/kernels/operand_rows.h"

namespace ttt::cuda {

inline constexpr std::int32_t kMostFewRows = 32;
inline constexpr std::int32_t kMostTogether = 5;  // matrices of one launch

// out = x W^T, out += x W^T; with `up`, which has the same shape: out = silu(x W^T) * (x up^T).
struct FewRowsMatrix {
  const void* W = nullptr;   // [n, k]; of a block type its planes
  const void* up = nullptr;  // [n, k], or null
  OperandRows out;           // [rows, n], fp32 where `up` is null
  std::int32_t n = 0;
  std::int32_t end_tile = 0;  // set by the launch: tiles of this matrix and those before it
  bool adds = false;
};

struct ProductFewParams {
  const std::uint16_t* x = nullptr;  // [rows, k]
  FewRowsMatrix matrices[kMostTogether];
  std::int32_t num_matrices = 0;
  // Addresses of x and of matrices are multiples of 16 bytes, and k is a multiple of 8.
  std::int32_t rows = 0, k = 0;
};

// `type`: of all matrices, any but F32. x is bf16 for BF16, else fp16. REQUIRES: rows <= kMostFewRows.
void launch_product_few(MatrixType type, const ProductFewParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
