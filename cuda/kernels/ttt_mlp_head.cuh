// SPDX-License-Identifier: Apache-2.0
// What both kernels of TTT-MLP in the dual form have in common: where the state of their head lies, and
// pieces of a mini-batch's arithmetic that do not depend on where the fast weights are.
#pragma once

#include "cuda/kernels/ttt_prefill_tiles.cuh"

namespace ttt::cuda {

// GELU in the tanh form, and its derivative.
TTT_DEVICE void gelu_both(float x, float& value, float& derivative) {
  constexpr float kSqrt2OverPi = 0.79788456F, kCubic = 0.044715F;
  const float xx = x * x;
  const float t = tanh_approx(kSqrt2OverPi * x * fmaf(kCubic, xx, 1.0F));
  const float half = fmaf(0.5F, t, 0.5F);
  value = x * half;
  const float slope = fmaf(3.0F * kSqrt2OverPi * kCubic, xx, kSqrt2OverPi);
  derivative = fmaf(0.5F * x * fmaf(-t, t, 1.0F), slope, half);
}

template <int f>
class MlpHead {
 public:
  static constexpr int kHeadSize = f, kHidden = 4 * f, kWarps = 8, kThreads = kWarps * kWarp;

 protected:
  TTT_DEVICE MlpHead(const TttPrefillParams& params, unsigned char* shared)
      : p_(params),
        shared_(shared),
        head_(blockIdx.x),
        lane_(threadIdx.x % kWarp),
        warp_(threadIdx.x / kWarp) {
    range_ = prefill_range(p_.segments[blockIdx.y]);
  }

  TTT_DEVICE int group() const { return lane_ / 4; }
  TTT_DEVICE int member() const { return lane_ % 4; }
  // The slot's state, and this head's parts of it. The address is read again where it is needed: registers
  // are scarcer.
  TTT_DEVICE float* state() const { return p_.segments[blockIdx.y].state; }
  TTT_DEVICE float* of_head(float* parts, int before, int floats) const {
    return parts + static_cast<std::size_t>(p_.num_heads) * before + static_cast<std::size_t>(head_) * floats;
  }
  TTT_DEVICE float* fast_weights() const { return state() + p_.fast_weights; }
  TTT_DEVICE float* W1() const { return of_head(fast_weights(), 0, f * kHidden); }
  TTT_DEVICE float* b1() const { return of_head(fast_weights(), f * kHidden, kHidden); }
  TTT_DEVICE float* W2() const { return of_head(fast_weights(), (f + 1) * kHidden, kHidden * f); }
  TTT_DEVICE float* b2() const { return of_head(fast_weights(), (2 * f + 1) * kHidden, f); }
  TTT_DEVICE int open_row_stride() const { return p_.num_heads * (2 * f + 2 * kHidden); }
  TTT_DEVICE float* open_row(int row, int before, int floats) const {
    return of_head(state() + p_.open_rows + row * open_row_stride(), before, floats);
  }
  TTT_DEVICE float* open_key(int row) const { return open_row(row, 0, f); }
  TTT_DEVICE float* open_hidden(int row) const { return open_row(row, f, kHidden); }
  TTT_DEVICE float* open_gradient_1(int row) const { return open_row(row, f + kHidden, kHidden); }
  TTT_DEVICE float* open_gradient_2(int row) const { return open_row(row, f + 2 * kHidden, f); }

  TTT_DEVICE float squares_of_gamma() const {
    float sum = 0.0F;
    for (int i = 0; i < f; ++i) {
      const float gamma = p_.norm_weight[head_ * f + i];
      sum = fmaf(gamma, gamma, sum);
    }
    return sum;
  }
  // An element of z, of u, and of the read-out; then what the 16 threads of a row have, together.
  static TTT_DEVICE void add_element(float gamma, float z, float u, float read, RowSums& sums) {
    const float gz = gamma * gamma * z;
    sums.z += z;
    sums.zz = fmaf(z, z, sums.zz);
    sums.gz += gz;
    sums.gzz = fmaf(gz, z, sums.gzz);
    sums.u += u;
    sums.uz = fmaf(u, z, sums.uz);
    sums.o += read;
    sums.oo = fmaf(read, read, sums.oo);
  }
  static TTT_DEVICE void add_lanes(RowSums& sums) {
    TTT_UNROLL for (int mask = 1; mask < 16; mask *= 2) {
      sums.z += shuffle_xor(sums.z, mask);
      sums.zz += shuffle_xor(sums.zz, mask);
      sums.gz += shuffle_xor(sums.gz, mask);
      sums.gzz += shuffle_xor(sums.gzz, mask);
      sums.u += shuffle_xor(sums.u, mask);
      sums.uz += shuffle_xor(sums.uz, mask);
      sums.o += shuffle_xor(sums.o, mask);
      sums.oo += shuffle_xor(sums.oo, mask);
    }
  }
  // -tau_i where key j is read by token i, for element e of the tile of keys n. token_eta: tau [16].
  TTT_DEVICE float causal_eta(const float* token_eta, int n, int e) const {
    const int i = group() + 8 * (e / 2), j = 8 * n + 2 * member() + e % 2;
    return j <= i ? -token_eta[i] : 0.0F;
  }
  static TTT_DEVICE void pack_scores(const float (&scores)[2][4], std::uint32_t (&a)[4]) {
    a[0] = pack_bf16(scores[0][0], scores[0][1]);
    a[1] = pack_bf16(scores[0][2], scores[0][3]);
    a[2] = pack_bf16(scores[1][0], scores[1][1]);
    a[3] = pack_bf16(scores[1][2], scores[1][3]);
  }
  // bias += the sum of the rows whose B fragment this is: a product with ones.
  static TTT_DEVICE void add_rows(std::uint32_t b0, std::uint32_t b1, float (&bias)[2]) {
    constexpr std::uint32_t kOnes = 0x3F803F80U;
    const std::uint32_t ones[4] = {kOnes, kOnes, kOnes, kOnes};
    float sum[4] = {bias[0], bias[1], 0.0F, 0.0F};
    mma_bf16(sum, ones, b0, b1);
    bias[0] = sum[0];
    bias[1] = sum[1];
  }

  const TttPrefillParams& p_;
  unsigned char* const shared_;
  const int head_, lane_, warp_;
  PrefillRange range_;
};

}  // namespace ttt::cuda
