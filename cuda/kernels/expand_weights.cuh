// SPDX-License-Identifier: Apache-2.0
// See expand_weights.h. Neighbouring threads have neighbouring eights of weights: a warp reads runs of 128
// bytes or more and stores one of 512. A thread reads all its eights before it stores the first, so that
// enough bytes are on their way.
#pragma once

#include "cuda/kernels/block_weights.cuh"
#include "cuda/kernels/expand_weights.h"

namespace ttt::cuda {

// The share of a block: kEights times an eight for each thread.
struct ExpandedShare {
  static constexpr int kThreads = 256, kEights = 4;
  static constexpr std::size_t kStride = kThreads * 8, kWeights = kEights * kStride;
};

template <typename Eight>
TTT_DEVICE uint4 eight_halves(const Eight& eight) {
  return {pack_half(eight.value(0), eight.value(1)), pack_half(eight.value(2), eight.value(3)),
          pack_half(eight.value(4), eight.value(5)), pack_half(eight.value(6), eight.value(7))};
}

template <typename Weights>
__global__ void __launch_bounds__(ExpandedShare::kThreads) expand_weights(const ExpandWeightsParams p) {
  const Weights weights(p.planes, p.count);
  const std::size_t first = blockIdx.x * ExpandedShare::kWeights + threadIdx.x * 8;
  typename Weights::Eight eights[ExpandedShare::kEights];
  TTT_UNROLL for (int e = 0; e < ExpandedShare::kEights; ++e) {
    const std::size_t i = first + e * ExpandedShare::kStride;
    eights[e] = weights.eight(i < p.count ? i : 0);  // what lies behind the last is not stored
  }
  TTT_UNROLL for (int e = 0; e < ExpandedShare::kEights; ++e) {
    const std::size_t i = first + e * ExpandedShare::kStride;
    if (i < p.count) *reinterpret_cast<uint4*>(p.halves + i) = eight_halves(eights[e]);
  }
}

}  // namespace ttt::cuda
