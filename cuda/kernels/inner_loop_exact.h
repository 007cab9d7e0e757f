// SPDX-License-Identifier: Apache-2.0
// The inner loop of every (segment, head) of a batch in fp32, for any head size, mini-batch size, phase and
// length: learn, read, commit. The mathematics is docs/ttt.md. One launch serves sequences that decode, each
// at its own phase, beside prompts that are read. A token's result does not depend on how its sequence was
// cut.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "cuda/kernels/step_tables.h"

namespace ttt::cuda {

struct InnerLoopParams {
  const SegmentEntry* segments;
  const float *q, *k, *v;  // [rows, d], after RoPE
  float* out;              // [rows, d]: q + N(z)
  const float* alpha;      // [rows, H] inner learning rates
  float* losses;           // [rows, L, H], of segments that want them

  const float* token_eta;    // [K], tau
  const float* norm_weight;  // [H, f]
  const float* norm_bias;    // [H, f]

  // Offsets in a slot's state, in floats: the layer's committed fast weights, W1 [H, f, m'], b1 [H, m'],
  // (MLP) W2 [H, m', f], b2 [H, f], and its open rows, K groups as engine/state_layout.h describes.
  std::size_t fast_weights, open_rows;
  std::uint32_t open_row_stride;

  std::uint32_t num_segments, heads, head_size, inner_size, mini_batch_size;
  std::uint32_t layer, num_layers;
  std::uint32_t rows_per_run;  // rows of a mini-batch that are taken together: see inner_loop_rows_per_run()
};

// As many rows, at most 16, as fit the shared memory that every device grants; 0 where not one does. It
// changes no result.
std::uint32_t inner_loop_rows_per_run(std::uint32_t head_size, std::uint32_t inner_size,
                                      std::uint32_t mini_batch_size, bool is_mlp);

void launch_ttt_linear_exact(const InnerLoopParams& params, cudaStream_t stream);
void launch_ttt_mlp_exact(const InnerLoopParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
