// SPDX-License-Identifier: Apache-2.0
// Steps in which every segment is one token: kernels that each do what several do for prompts, with the same
// bits. A kernel takes longer to start than to do so little. REQUIRES: row i is the only one of segment i.
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

// From the projections to the inner loop: q and k convolved, their history moved on, both rotated, the inner
// loop's operands and rates.
struct DecodeOperandsParams {
  RopeOperandsParams operands;                         // its rope.q and rope.k are not used
  const float* xq;                                     // [num_rows, d] shared projection of q and k
  std::size_t history;                                 // offset in a state, as in conv.h
  const float *weight_q, *bias_q, *weight_k, *bias_k;  // [c, d], [d]
  std::uint32_t taps;
  RatesParams rates;
};
void launch_decode_operands(const DecodeOperandsParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
