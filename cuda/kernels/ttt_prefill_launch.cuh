// SPDX-License-Identifier: Apache-2.0
// How every prefill kernel is started: one block for each segment and head.
#pragma once

#include "cuda/kernels/ttt_prefill.h"
#include "cuda/launch.cuh"

namespace ttt::cuda {

// `kernel` is the __global__ function that runs a Kernel.
template <typename Kernel>
void launch_prefill(void (*kernel)(TttPrefillParams), const TttPrefillParams& params, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid_x = static_cast<unsigned>(params.num_heads);
  shape.grid_y = static_cast<unsigned>(params.num_segments);
  shape.starts_early = true;
  shape.threads = Kernel::kThreads;
  shape.shared_bytes = Kernel::kSharedBytes;
  launch(kernel, shape, params, stream);
}

}  // namespace ttt::cuda
