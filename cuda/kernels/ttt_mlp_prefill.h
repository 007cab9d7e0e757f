// SPDX-License-Identifier: Apache-2.0
// TTT-MLP over many tokens of each sequence, in the dual form on tensor cores: bf16 operands, fp32 sums, fast
// weights and gradients. For mini-batches of 16, f = 64 and an inner width of 256.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/kernels/ttt_prefill.h"

namespace ttt::cuda {

struct TttMlpPrefillParams {
  TttPrefillRows rows;
  // One layer of slot 0; that of the next slot is slot_stride floats on. Addresses are multiples of 16 bytes.
  float* fast_weights = nullptr;  // W1 [H, f, m'] as [in, out], b1 [H, m'], W2 [H, m', f], b2 [H, f]
  // [16] rows of: key [H, f], hidden [H, m'] (both numbers of bf16), gradient_1 [H, m'], gradient_2 [H, f]
  float* open_rows = nullptr;
  std::size_t slot_stride = 0;
};

bool ttt_mlp_prefill_supports(int head_size, int inner_size, int mini_batch_size);

// One block for each segment and head. REQUIRES: ttt_mlp_prefill_supports(64, 256, 16).
void launch_ttt_mlp_prefill(const TttMlpPrefillParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
