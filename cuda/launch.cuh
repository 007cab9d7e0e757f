// SPDX-License-Identifier: Apache-2.0
// Starts a kernel on a stream: the one place that knows whether a GPU or the block emulator runs it.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <map>
#include <utility>

#include "cuda/cuda_check.h"

namespace ttt::cuda {

struct LaunchShape {
  unsigned grid_x = 1, grid_y = 1;  // blocks
  unsigned threads = 0;             // of a block, a multiple of 32
  std::size_t shared_bytes = 0;     // dynamic shared memory of a block
  // May start while the kernels before it on the stream still run: it calls wait_for_previous().
  bool starts_early = false;
};

// Of the thread.
inline int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "launch of a kernel");
  return device;
}

// Multiprocessors of the thread's current device.
inline int num_multiprocessors() {
  thread_local int known_device = -1, multiprocessors = 0;
  const int device = current_device();
  if (device != known_device) {
    check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
          "launch of a kernel");
    known_device = device;
  }
  return multiprocessors;
}

#ifdef __CUDACC__
// Whether the current device runs the kernel as it was compiled for compute capability 9.0 or above: only
// then does it wait.
inline bool can_wait(const void* kernel) {
  constexpr int kFirstVersion = 90;
  thread_local std::map<std::pair<int, const void*>, bool> known;
  const auto [entry, is_new] = known.try_emplace({current_device(), kernel}, false);
  if (is_new) {
    cudaFuncAttributes attributes = {};
    check(cudaFuncGetAttributes(&attributes, kernel), "launch of a kernel");
    entry->second = attributes.ptxVersion >= kFirstVersion;
  }
  return entry->second;
}
#endif

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
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(shape.grid_x, shape.grid_y);
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &early;
  config.numAttrs = shape.starts_early && can_wait(reinterpret_cast<const void*>(kernel)) ? 1 : 0;
  check(cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), arguments), "launch of a kernel");
#else
  check(emulator::launch_kernel(
            reinterpret_cast<const void*>(kernel), shape.grid_x, shape.grid_y, shape.threads,
            shape.shared_bytes,
            [kernel, params, starts_early = shape.starts_early] {
              kernel(params);
              if (starts_early) emulator::check_waited();
            },
            stream),
        "launch of a kernel");
#endif
}

}  // namespace ttt::cuda
