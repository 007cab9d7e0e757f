// SPDX-License-Identifier: Apache-2.0
// Small results of rows of logits, as engine/log_probs.h defines them: log-sum-exp, log-probabilities of
// targets, the most probable tokens.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/kernels/step_tables.h"

namespace ttt::cuda {

struct OutputsParams {
  const OutputEntry* rows;  // [num_rows]
  const float* logits;      // [num_rows, V]
  std::uint32_t num_rows, vocab_size;
};
void launch_outputs(const OutputsParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
