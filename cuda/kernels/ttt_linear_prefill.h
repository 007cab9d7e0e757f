// SPDX-License-Identifier: Apache-2.0
// TTT-Linear over many tokens of each sequence, in the dual form on tensor cores: bf16 operands, fp32 sums,
// fast weights and gradients. For mini-batches of 16 and f = 64, 96, 128.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/kernels/ttt_prefill.h"

namespace ttt::cuda {

bool ttt_linear_prefill_supports(int head_size, int mini_batch_size);

// One block for each segment and head. REQUIRES: ttt_linear_prefill_supports(head_size, 16).
void launch_ttt_linear_prefill(int head_size, const TttPrefillParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
