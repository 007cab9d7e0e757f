// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/conv.cuh"

#include "cuda/kernels/threads_for.h"
#include "cuda/launch.cuh"

namespace ttt::cuda {
namespace {

LaunchShape by_channels(std::uint32_t count, std::uint32_t width) {
  const std::uint32_t threads = threads_for(width);
  return {count, (width + threads - 1) / threads, threads, 0};
}

}  // namespace

void launch_depthwise_conv(const ConvParams& params, cudaStream_t stream) {
  launch(depthwise_conv, by_channels(params.num_rows, params.width), params, stream);
}

void launch_advance_history(const AdvanceParams& params, cudaStream_t stream) {
  launch(advance_history, by_channels(params.num_segments, params.width), params, stream);
}

}  // namespace ttt::cuda
