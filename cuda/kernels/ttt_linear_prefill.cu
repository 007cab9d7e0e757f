// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/ttt_linear_prefill.h"

#include "cuda/kernels/ttt_linear_prefill.cuh"
#include "cuda/launch.cuh"

namespace ttt::cuda {
namespace {

template <int f>
void launch_linear_prefill(const TttPrefillParams& params, cudaStream_t stream) {
  using Kernel = LinearPrefill<f>;
  LaunchShape shape;
  shape.grid_x = static_cast<unsigned>(params.num_heads);
  shape.grid_y = static_cast<unsigned>(params.num_segments);
  shape.starts_early = true;
  shape.threads = Kernel::kThreads;
  shape.shared_bytes = Kernel::kSharedBytes;
  launch(ttt_linear_prefill<f>, shape, params, stream);
}

}  // namespace

bool ttt_linear_prefill_supports(int head_size, int mini_batch_size) {
  return mini_batch_size == kPrefillK && (head_size == 64 || head_size == 96 || head_size == 128);
}

void launch_ttt_linear_prefill(int head_size, const TttPrefillParams& params, cudaStream_t stream) {
  switch (head_size) {
    case 64:
      return launch_linear_prefill<64>(params, stream);
    case 96:
      return launch_linear_prefill<96>(params, stream);
    case 128:
      return launch_linear_prefill<128>(params, stream);
    default:
      throw std::invalid_argument("no TTT-Linear prefill kernel for this head size");
  }
}

}  // namespace ttt::cuda
