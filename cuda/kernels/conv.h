// SPDX-License-Identifier: Apache-2.0
// Depthwise causal convolutions of every segment, each continuing from the inputs that its slot remembers:
//   y[t, ch] = bias[ch] + sum_j weight[j, ch] * x[t - (c-1) + j, ch]
// x before the segment comes from the end of the history: c-1+p rows at an offset in the slot's state.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "cuda/kernels/step_tables.h"

namespace ttt::cuda {

struct ConvParams {
  const RowEntry* rows;
  const SegmentEntry* segments;
  std::size_t history;  // offset in a state: [c-1+K-1, d], of which c-1+p rows are valid
  const float* x;       // [num_rows, d]
  const float* weight;  // [c, d]
  const float* bias;    // [d]
  float* y;             // [num_rows, d]
  std::uint32_t num_rows, width, taps;
};
void launch_depthwise_conv(const ConvParams& params, cudaStream_t stream);

// Moves the histories on: afterwards each holds the last c-1+p' rows of (history, x), p' the phase after the
// segment.
struct AdvanceParams {
  const SegmentEntry* segments;
  std::size_t history;
  const float* x;
  std::uint32_t num_segments, width, taps, mini_batch_size;
};
void launch_advance_history(const AdvanceParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
