// SPDX-License-Identifier: Apache-2.0
// Stands in for the toolkit's header where device code is compiled for the block emulator.
#pragma once

#include <block_emulator.h>
#include <cuda_runtime_api.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define threadIdx (::ttt::emulator::current_thread->thread_index)
#define blockIdx (::ttt::emulator::current_thread->block_index)
#define blockDim (::ttt::emulator::current_thread->block_size)
#define gridDim (::ttt::emulator::current_thread->grid_size)

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
