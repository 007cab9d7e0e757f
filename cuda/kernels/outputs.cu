// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/outputs.cuh"

#include "cuda/kernels/threads_for.h"
#include "cuda/launch.cuh"

namespace ttt::cuda {

void launch_outputs(const OutputsParams& params, cudaStream_t stream) {
  static_assert(sizeof(Candidate) == sizeof(double));
  const std::uint32_t threads = threads_for(params.vocab_size, kMostOutputThreads);
  launch(outputs, {params.num_rows, 1, threads, (threads + threads / kWarp) * sizeof(double), true}, params,
         stream);
}

}  // namespace ttt::cuda
