// SPDX-License-Identifier: Apache-2.0
// For steps in which every segment is one token: a kernel that does what five do for prompts, with the same
// bits. Each would take longer to start than to do so little. REQUIRES: row i is the only one of segment i; 4
// divides d.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "cuda/kernels/elementwise.h"

namespace ttt::cuda {

// x += Conv(RMS(x)) with the history moved on, and out = RMS(x) for what comes next.
struct DecodePreConvParams {
  const SegmentEntry* segments;
  std::size_t history;            // offset in a state, as in conv.h
  float* x;                       // [num_rows, d]
  const float* norm_weight;       // [d]
  const float *weight, *bias;     // [c, d], [d] of the convolution
  const float* next_norm_weight;  // [d]
  OperandRows out;                // [num_rows, d]
  std::uint32_t num_rows, width, taps, mini_batch_size;
  float epsilon;
};
void launch_decode_pre_conv(const DecodePreConvParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
