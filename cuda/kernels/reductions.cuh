// SPDX-License-Identifier: Apache-2.0
// Sums over the threads of a warp or a block, in an order that depends on the number of threads alone.
#pragma once

#include "cuda/kernels/device.cuh"

namespace ttt::cuda {

constexpr unsigned kWarpLanes = 32;

// Every lane gets the sum. All lanes of the warp call it.
TTT_DEVICE float warp_sum(float value) {
  for (int mask = kWarpLanes / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}

// Every thread gets the sum. All threads of the block, whole warps, call it; scratch holds a float per warp.
TTT_DEVICE float block_sum(float value, float* scratch) {
  const float of_warp = warp_sum(value);
  if (blockDim.x == kWarpLanes) return of_warp;
  const unsigned lane = threadIdx.x % kWarpLanes;
  sync_block();  // scratch may still be read by an earlier sum
  if (lane == 0) scratch[threadIdx.x / kWarpLanes] = of_warp;
  sync_block();
  return warp_sum(lane < blockDim.x / kWarpLanes ? scratch[lane] : 0.0F);
}

}  // namespace ttt::cuda
