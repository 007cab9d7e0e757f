// SPDX-License-Identifier: Apache-2.0
// TTT-MLP in the dual form for heads whose fast weights exceed a multiprocessor's registers: f = 96 or 128,
// mini-batches of 16, an inner width of 4 f. ttt_mlp_prefill.h starts it.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/kernels/ttt_prefill.h"

namespace ttt::cuda {

// One block for each segment and head. Throws std::invalid_argument for any other head size.
void launch_ttt_mlp_streamed(int head_size, const TttPrefillParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
