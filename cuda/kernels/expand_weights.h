// SPDX-License-Identifier: Apache-2.0
// A matrix of a block type as fp16, for who multiplies nothing else: each weight rounded once, bit by bit
// what product_quantised multiplies.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "cuda/kernels/matrix.h"

namespace ttt::cuda {

struct ExpandWeightsParams {
  const void* planes = nullptr;     // of the matrix (cuda/block_planes.h)
  std::uint16_t* halves = nullptr;  // [count], in the matrix's order; a multiple of 16 bytes
  std::size_t count = 0;            // weights, whole blocks of them
};

// REQUIRES: is_block_type(type).
void launch_expand_weights(MatrixType type, const ExpandWeightsParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
