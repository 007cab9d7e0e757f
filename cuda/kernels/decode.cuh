// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cuda/kernels/decode.h"
#include "cuda/kernels/row_parts.cuh"

namespace ttt::cuda {

// One input after those that a slot remembers of kCount neighbouring channels.
template <int kCount>
struct ConvHistory {
  float* history;  // of the first channel: [c-1+K-1, d], of which c-1+p rows are valid
  std::size_t width;
  unsigned taps, phase, mini_batch_size;

  // Neither waits for what a step writes: the history is that of the step before.
  TTT_DEVICE Elements<kCount> row(unsigned tap) const {
    return load_floats<kCount>(history + (phase + tap) * width);
  }
  // Everything that a convolution reads but the token, brought into the L2 cache.
  TTT_DEVICE void prefetch_inputs(const float* weight, const float* bias) const {
    for (unsigned tap = 0; tap < taps; ++tap) {
      prefetch(weight + tap * width);
      if (tap + 1 < taps) prefetch(history + (phase + tap) * width);
    }
    prefetch(bias);
  }

  // weight and bias: of the first channel. Four taps are read at once.
  TTT_DEVICE Elements<kCount> convolved(const Elements<kCount>& x, const float* weight,
                                        const float* bias) const {
    constexpr unsigned kTogether = 4;
    Elements<kCount> sum = load_floats<kCount>(bias);
    for (unsigned first = 0; first < taps; first += kTogether) {
      Elements<kCount> inputs[kTogether], weights[kTogether];
      TTT_UNROLL for (unsigned i = 0; i < kTogether; ++i) {
        const unsigned tap = first + i;
        inputs[i] = tap + 1 < taps ? row(tap) : x;
        weights[i] = load_floats<kCount>(weight + (tap < taps ? tap : 0) * width);
      }
      TTT_UNROLL for (unsigned i = 0; i < kTogether; ++i) {
        if (first + i >= taps) continue;
        TTT_UNROLL for (int e = 0; e < kCount; ++e) {
          sum.at[e] = fmaf(weights[i].at[e], inputs[i].at[e], sum.at[e]);
        }
      }
    }
    return sum;
  }

  // A completed mini-batch leaves its last c-1 inputs.
  TTT_DEVICE void advance(const Elements<kCount>& x) const {
    if (phase + 1 < mini_batch_size) return store_floats(history + (taps - 1 + phase) * width, x);
    for (unsigned tap = 0; tap + 1 < taps; ++tap) {
      store_floats(history + tap * width, tap + 2 < taps ? row(tap + 1) : x);
    }
  }
};

// A block per segment.
template <int kCount>
__global__ void __launch_bounds__(kMostRowThreads) decode_pre_conv(const DecodePreConvParams p) {
  TTT_DYNAMIC_SHARED(shared_bytes);
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

// Blocks (segment, group of channels), a thread for each pair of channels; the first block of a segment also
// has its rates.
__global__ void decode_operands(const DecodeOperandsParams p) {
  const RopeParams& rope = p.operands.rope;
  let_next_start();
  const SegmentEntry segment = rope.segments[blockIdx.x];
  const unsigned channel = 2 * (blockIdx.y * blockDim.x + threadIdx.x);
  const bool has_channel = channel < rope.width;
  const ConvHistory<2> conv = {segment.state + p.history + channel, rope.width, p.taps, segment.phase,
                               rope.mini_batch_size};
  const float* const angles =
      rope.table + std::size_t{segment.phase} * rope.head_size + channel % rope.head_size;
  if (has_channel) {
    conv.prefetch_inputs(p.weight_q + channel, p.bias_q + channel);
    conv.prefetch_inputs(p.weight_k + channel, p.bias_k + channel);
    prefetch(angles);
  }
  wait_for_previous();
  if (blockIdx.y == 0) {
    for (unsigned head = threadIdx.x; head < p.rates.heads; head += blockDim.x) {
      float& alpha = p.rates.alpha[std::size_t{blockIdx.x} * p.rates.heads + head];
      alpha = rate(p.rates, alpha, head);
    }
  }
  if (!has_channel) return;
  const std::size_t at = std::size_t{blockIdx.x} * rope.width + channel;
  const Elements<2> x = load_floats<2>(p.xq + at);
  const Elements<2> q = conv.convolved(x, p.weight_q + channel, p.bias_q + channel);
  const Elements<2> k = conv.convolved(x, p.weight_k + channel, p.bias_k + channel);
  conv.advance(x);
  const Pair angle = pair_at(angles);
  store_rotated(p.operands, at, rotated({q.at[0], q.at[1]}, angle), rotated({k.at[0], k.at[1]}, angle));
}

}  // namespace ttt::cuda
