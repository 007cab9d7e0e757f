// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cuda/kernels/conv_history.cuh"
#include "cuda/kernels/decode_pre_conv.h"
#include "cuda/kernels/row_parts.cuh"

namespace ttt::cuda {

constexpr int kPreConvElements = 4;  // that a thread reads at once

// A block per segment.
__global__ void __launch_bounds__(kMostRowThreads) decode_pre_conv(const DecodePreConvParams p) {
  TTT_DYNAMIC_SHARED(shared_bytes);
  constexpr int kCount = kPreConvElements;
  auto* const scratch = reinterpret_cast<float*>(shared_bytes);
  let_next_start();
  const SegmentEntry segment = p.segments[blockIdx.x];
  const std::size_t at = std::size_t{blockIdx.x} * p.width;
  const unsigned first = kCount * threadIdx.x, step = kCount * blockDim.x;
  const auto conv_of = [&](unsigned i) {
    return ConvHistory<kCount>{segment.state + p.history + i, p.width, p.taps, segment.phase,
                               p.mini_batch_size};
  };
  for (unsigned i = first; i < p.width; i += step) {
    conv_of(i).prefetch_inputs(p.weight + i, p.bias + i);
    prefetch(p.norm_weight + i);
    prefetch(p.next_norm_weight + i);
  }
  wait_for_previous();
  float* const x = p.x + at;
  const float scale = rms_scale<kCount>(x, p.width, p.epsilon, scratch);
  for (unsigned i = first; i < p.width; i += step) {
    const ConvHistory<kCount> conv = conv_of(i);
    const Elements<kCount> input = rms_normed<kCount>(x, p.norm_weight, i, scale);
    const Elements<kCount> branch = conv.convolved(input, p.weight + i, p.bias + i);
    conv.advance(input);
    Elements<kCount> sum = load_floats<kCount>(x + i);
    TTT_UNROLL for (int e = 0; e < kCount; ++e) sum.at[e] += branch.at[e];
    store_floats(x + i, sum);
  }
  const float next_scale = rms_scale<kCount>(x, p.width, p.epsilon, scratch);  // of what this thread wrote
  for (unsigned i = first; i < p.width; i += step) {
    store_operands(p.out, at + i, rms_normed<kCount>(x, p.next_norm_weight, i, next_scale));
  }
}

}  // namespace ttt::cuda
