// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/draw.cuh"

#include "cuda/launch.cuh"

namespace ttt::cuda {

void launch_draw(const DrawParams& params, cudaStream_t stream) {
  launch(draw, {params.num_entries, 1, kDrawThreads, kDrawSharedDoubles * sizeof(double)}, params, stream);
}

}  // namespace ttt::cuda
