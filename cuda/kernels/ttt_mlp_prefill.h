// SPDX-License-Identifier: Apache-2.0
// TTT-MLP over many tokens of each sequence, in the dual form on tensor cores: bf16 operands, fp32 sums, fast
// weights and gradients. For mini-batches of 16, f = 64, 96 or 128 and an inner width of 4 f: at 64 the fast
// weights stay in registers (ttt_mlp_prefill.cuh), above they are streamed (ttt_mlp_streamed.cuh).
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/kernels/ttt_prefill.h"

namespace ttt::cuda {

bool ttt_mlp_prefill_supports(int head_size, int inner_size, int mini_batch_size);

// One block for each segment and head. REQUIRES: ttt_mlp_prefill_supports(head_size, 4 head_size, 16).
void launch_ttt_mlp_prefill(int head_size, const TttPrefillParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
