// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/ttt_linear_prefill.h"

#include "cuda/kernels/ttt_linear_prefill.cuh"
#include "cuda/kernels/ttt_prefill_launch.cuh"

namespace ttt::cuda {

bool ttt_linear_prefill_supports(int head_size, int mini_batch_size) {
  return mini_batch_size == kPrefillK && (head_size == 64 || head_size == 96 || head_size == 128);
}

void launch_ttt_linear_prefill(int head_size, const TttPrefillParams& params, cudaStream_t stream) {
  switch (head_size) {
    case 64:
      return launch_prefill<LinearPrefill<64>>(ttt_linear_prefill<64>, params, stream);
    case 96:
      return launch_prefill<LinearPrefill<96>>(ttt_linear_prefill<96>, params, stream);
    case 128:
      return launch_prefill<LinearPrefill<128>>(ttt_linear_prefill<128>, params, stream);
    default:
      throw std::invalid_argument("no TTT-Linear prefill kernel for this head size");
  }
}

}  // namespace ttt::cuda
