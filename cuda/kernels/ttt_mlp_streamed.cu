// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/ttt_mlp_streamed.h"

#include <stdexcept>

#include "cuda/kernels/ttt_mlp_streamed.cuh"
#include "cuda/launch.cuh"

namespace ttt::cuda {
namespace {

template <int f>
void launch_mlp_streamed(const TttPrefillParams& params, cudaStream_t stream) {
  using Kernel = MlpStreamed<f>;
  LaunchShape shape;
  shape.grid_x = static_cast<unsigned>(params.num_heads);
  shape.grid_y = static_cast<unsigned>(params.num_segments);
  shape.starts_early = true;
  shape.threads = Kernel::kThreads;
  shape.shared_bytes = Kernel::kSharedBytes;
  launch(ttt_mlp_streamed<f>, shape, params, stream);
}

}  // namespace

void launch_ttt_mlp_streamed(int head_size, const TttPrefillParams& params, cudaStream_t stream) {
  switch (head_size) {
    case 96:
      return launch_mlp_streamed<96>(params, stream);
    case 128:
      return launch_mlp_streamed<128>(params, stream);
    default:
      throw std::invalid_argument("no TTT-MLP kernel in the dual form for this head size");
  }
}

}  // namespace ttt::cuda
