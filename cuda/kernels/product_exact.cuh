// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cuda/kernels/device.cuh"
#include "cuda/kernels/product_exact.h"
#include "cuda/kernels/weight_value.cuh"

namespace ttt::cuda {

// A block computes a tile of outputs x rows, passing over the inputs in steps. A thread has kThreadOutputs x
// kThreadRows of them: outputs kOutputThreads apart, rows beside each other.
constexpr unsigned kProductThreads = 64;
constexpr unsigned kThreadOutputs = 2, kThreadRows = 4;
constexpr unsigned kOutputThreads = 16;
constexpr unsigned kTileOutputs = kOutputThreads * kThreadOutputs;              // 32
constexpr unsigned kTileRows = kProductThreads / kOutputThreads * kThreadRows;  // 16
constexpr unsigned kTileInputs = 32;
constexpr unsigned kTileStride = kTileInputs + 1;  // neighbouring rows begin in neighbouring banks
constexpr unsigned kProductSharedFloats = (kTileOutputs + kTileRows) * kTileStride;

template <typename Weights>
__global__ void product_exact(const ProductParams p) {
  TTT_DYNAMIC_SHARED(shared_bytes);
  auto* shared = reinterpret_cast<float*>(shared_bytes);
  float* w_tile = shared;                               // [kTileOutputs][kTileStride]
  float* x_tile = shared + kTileOutputs * kTileStride;  // [kTileRows][kTileStride]
  const unsigned first_output = blockIdx.x * kTileOutputs;
  const unsigned first_row = blockIdx.y * kTileRows;
  const unsigned outputs = p.weight.outputs;
  const unsigned inputs = p.weight.inputs;
  const Weights weight(p.weight);
  const unsigned output = threadIdx.x % kOutputThreads;             // in the tile
  const unsigned row = threadIdx.x / kOutputThreads * kThreadRows;  // in the tile
  const bool has_work = first_row + row < p.num_rows;
  float sums[kThreadOutputs][kThreadRows] = {};
  for (unsigned first = 0; first < inputs; first += kTileInputs) {
    const unsigned depth = inputs - first < kTileInputs ? inputs - first : kTileInputs;
    const unsigned column = threadIdx.x % kTileInputs;
    for (unsigned o = threadIdx.x / kTileInputs; o < kTileOutputs; o += kProductThreads / kTileInputs) {
      const std::size_t at = std::size_t{first_output + o} * inputs + first + column;
      const bool is_inside = first_output + o < outputs && column < depth;
      w_tile[o * kTileStride + column] = is_inside ? weight[at] : 0.0F;
    }
    for (unsigned r = threadIdx.x / kTileInputs; r < kTileRows; r += kProductThreads / kTileInputs) {
      const std::size_t at = std::size_t{first_row + r} * inputs + first + column;
      const bool is_inside = first_row + r < p.num_rows && column < depth;
      x_tile[r * kTileStride + column] = is_inside ? p.x[at] : 0.0F;
    }
    sync_block();
    for (unsigned i = 0; has_work && i < depth; ++i) {
      float x[kThreadRows];
      for (unsigned r = 0; r < kThreadRows; ++r) x[r] = x_tile[(row + r) * kTileStride + i];
      for (unsigned o = 0; o < kThreadOutputs; ++o) {
        const float w = w_tile[(output + o * kOutputThreads) * kTileStride + i];
        for (unsigned r = 0; r < kThreadRows; ++r) sums[o][r] = fmaf(x[r], w, sums[o][r]);
      }
    }
    sync_block();
  }
  for (unsigned o = 0; o < kThreadOutputs; ++o) {
    const unsigned to = first_output + output + o * kOutputThreads;
    for (unsigned r = 0; r < kThreadRows; ++r) {
      if (to < outputs && first_row + row + r < p.num_rows) {
        float* const y = p.y + std::size_t{first_row + row + r} * outputs + to;
        *y = p.adds ? *y + sums[o][r] : sums[o][r];
      }
    }
  }
}

}  // namespace ttt::cuda
