// SPDX-License-Identifier: Apache-2.0
// Starts a kernel on a stream: the one place that knows whether a GPU or the block emulator runs it.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "cuda/cuda_check.h"

namespace ttt::cuda {

struct LaunchShape {
  unsigned grid_x = 1, grid_y = 1;  // blocks
  unsigned threads = 0;             // of a block, a multiple of 32
  std::size_t shared_bytes = 0;     // dynamic shared memory of a block
};

// Every kernel takes one struct of parameters by value. An empty grid is no launch.
template <typename Params>
void launch(void (*kernel)(Params), const LaunchShape& shape, const Params& params, cudaStream_t stream) {
  if (shape.grid_x == 0 || shape.grid_y == 0) return;
#ifdef __CUDACC__
  constexpr std::size_t kSharedBytesWithoutAsking = 48 << 10;
  if (shape.shared_bytes > kSharedBytesWithoutAsking) {
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shape.shared_bytes)),
          "shared memory of a kernel");
  }
  Params copy = params;
  void* arguments[] = {&copy};
  check(cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(shape.grid_x, shape.grid_y),
                         dim3(shape.threads), arguments, shape.shared_bytes, stream),
        "launch of a kernel");
#else
  check(emulator::launch_kernel(
            reinterpret_cast<const void*>(kernel), shape.grid_x, shape.grid_y, shape.threads,
            shape.shared_bytes, [kernel, params] { kernel(params); }, stream),
        "launch of a kernel");
#endif
}

}  // namespace ttt::cuda
