// SPDX-License-Identifier: Apache-2.0
// The operands of the inner loop for a segment that is one token, made by the block that has the head.
#pragma once

#include "cuda/kernels/conv_history.cuh"
#include "cuda/kernels/row_parts.cuh"
#include "cuda/kernels/ttt_prefill_tiles.cuh"

namespace ttt::cuda {

// A thread for each pair of channels of the head.
template <int f>
class TokenMaker {
 public:
  TTT_DEVICE TokenMaker(const TttPrefillParams& params, const SegmentEntry& segment, int head)
      : p_(params),
        segment_(segment),
        head_(head),
        column_(2 * static_cast<int>(threadIdx.x)),
        channel_(static_cast<std::size_t>(head * f + column_)),
        conv_{segment.state + params.token.history + channel_, params.row_stride, params.token.taps,
              segment.phase, kPrefillK} {}

  // Before the projections are there.
  TTT_DEVICE void prefetch_inputs() const {
    if (column_ >= f) return;
    conv_.prefetch_inputs(p_.token.weight_q + channel_, p_.token.bias_q + channel_);
    conv_.prefetch_inputs(p_.token.weight_k + channel_, p_.token.bias_k + channel_);
    prefetch(angles());
  }

  // Writes the token's row of q, k, target and alpha into the stage of its mini-batch, and moves the history
  // on.
  template <typename Ring>
  TTT_DEVICE void make(unsigned char* stage) const {
    const TokenOperands& token = p_.token;
    const int row = static_cast<int>(segment_.phase);
    if (threadIdx.x == 0) {
      const float alpha = p_.alpha[segment_.first_row * static_cast<std::size_t>(p_.num_heads) + head_];
      reinterpret_cast<float*>(stage + Ring::kAlpha)[row] =
          rate(alpha, token.rate_bias[head_], token.rate_scale);
    }
    if (column_ >= f) return;
    const std::size_t at = segment_.first_row * p_.row_stride + channel_;
    const Elements<2> x = load_floats<2>(token.xq + at);
    const Elements<2> q = conv_.convolved(x, token.weight_q + channel_, token.bias_q + channel_);
    const Elements<2> k = conv_.convolved(x, token.weight_k + channel_, token.bias_k + channel_);
    conv_.advance(x);
    const Pair angle = pair_at(angles()), k_rotated = rotated({k.at[0], k.at[1]}, angle);
    const Pair v = pair_at(token.v + at);
    const auto store = [&](int operand, Pair pair) {
      store_bf16(
          reinterpret_cast<std::uint16_t*>(stage + operand + OperandTile<f>::pair_offset(row, column_)),
          pair);
    };
    const Pair q_rotated = rotated({q.at[0], q.at[1]}, angle);
    store_bf16(token.q + at, q_rotated);
    store(Ring::kQ, q_rotated);
    store(Ring::kKey, k_rotated);
    store(Ring::kTarget, {v.even - k_rotated.even, v.odd - k_rotated.odd});
  }

 private:
  TTT_DEVICE const float* angles() const {
    return p_.token.rope_table + std::size_t{segment_.phase} * f + column_;
  }

  const TttPrefillParams& p_;
  const SegmentEntry segment_;
  const int head_, column_;
  const std::size_t channel_;
  const ConvHistory<2> conv_;
};

}  // namespace ttt::cuda
