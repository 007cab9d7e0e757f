// SPDX-License-Identifier: Apache-2.0
// out = x W^T on tensor cores for W of a block type: its tiles become fp16 in shared memory, each weight
// rounded once, and are multiplied as by product_mma. So the result is bitwise product_mma's for the rounded
// matrix, whatever the number of rows.
#pragma once

#include "cuda/kernels/matrix.h"
#include "cuda/kernels/product_mma.h"

namespace ttt::cuda {

// x is fp16, params.W the matrix's planes (cuda/block_planes.h). REQUIRES: is_block_type(type).
void launch_product_quantised(MatrixType type, const ProductMmaParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
