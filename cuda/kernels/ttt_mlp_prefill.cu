// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/ttt_mlp_prefill.h"

#include "cuda/kernels/ttt_mlp_prefill.cuh"
#include "cuda/kernels/ttt_mlp_streamed.h"
#include "cuda/kernels/ttt_prefill_launch.cuh"

namespace ttt::cuda {

bool ttt_mlp_prefill_supports(int head_size, int inner_size, int mini_batch_size) {
  return mini_batch_size == kPrefillK && inner_size == 4 * head_size &&
         (head_size == 64 || head_size == 96 || head_size == 128);
}

void launch_ttt_mlp_prefill(int head_size, const TttPrefillParams& params, cudaStream_t stream) {
  if (head_size != MlpPrefill::f) return launch_ttt_mlp_streamed(head_size, params, stream);
  launch_prefill<MlpPrefill>(ttt_mlp_prefill, params, stream);
}

}  // namespace ttt::cuda
