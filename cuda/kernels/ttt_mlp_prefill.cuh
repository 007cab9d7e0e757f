// SPDX-License-Identifier: Apache-2.0
// See ttt_mlp_prefill.h. A block of 8 warps works on one head of one segment; warp w holds, in registers,
// what the hidden units [32 w, 32 w + 32) need: W1^T as fp32 accumulators [hidden, in] and W2^T as [out,
// hidden]. So the first layer needs no exchange; the second is a sum over the warps, in shared memory.
//
// One step c of the loop, with two barriers:
//   a = k W1 + b1, x = GELU(a), this warp's part of z = x W2 + b2
//   barrier; g2 = alpha dLoss/dz from the sum of all parts, out = q + N(zbar) of mini-batch c - 1; barrier
//   g1 = (g2 W2^T) GELU'(a);  abar = q W1 + b1 - tau_i sum_j (q_i . k_j + 1) g1_j, xbar = GELU(abar);
//   this warp's part of zbar = xbar W2 + b2 - tau_i sum_j (xbar_i . x_j + 1) g2_j;  commit of both layers
// The scores xbar . x are sums over the warps too. They are not exchanged: each warp multiplies its part of
// them with g2 and adds that to its part of zbar.
#pragma once

#include "cuda/kernels/ttt_mlp_head.cuh"
#include "cuda/kernels/ttt_mlp_prefill.h"
#include "cuda/kernels/ttt_prefill_loop.cuh"
#include "cuda/kernels/ttt_prefill_tiles.cuh"

namespace ttt::cuda {

class MlpPrefill : MlpHead<64> {
 public:
  static constexpr int f = kHeadSize;
  using MlpHead<f>::kHeadSize, MlpHead<f>::kHidden, MlpHead<f>::kWarps, MlpHead<f>::kThreads;
  static constexpr int kWarpHidden = kHidden / kWarps;  // 32: two mma tiles
  using Tile = OperandTile<f>;
  using Ring = OperandRing<f, kThreads, 3>;
  // A warp's part of z [16, f] in fp32. Rows 72 floats apart lie 8 banks apart: a warp's stores meet no
  // conflict.
  static constexpr int kPartStride = f + 8, kPartBytes = kPrefillK * kPartStride * 4;
  static constexpr int kParts = Ring::kBytes, kReadParts = kParts + kWarps * kPartBytes;
  static constexpr int kGradients = kReadParts + kWarps * kPartBytes;  // tiles of g2 and of -tau_15 g2
  static constexpr int kTokenEta = kGradients + 2 * Tile::kBytes;
  static constexpr int kSharedBytes = kTokenEta + kPrefillK * 4 + 4;

  TTT_DEVICE MlpPrefill(const TttPrefillParams& params, unsigned char* shared) : MlpHead(params, shared) {}

  TTT_DEVICE void run() { read_segment(*this); }

 private:
  template <typename Kernel>
  friend TTT_DEVICE void read_segment(Kernel& kernel);

  // Column of the first of two elements of tile n of this warp's hidden units.
  TTT_DEVICE int hidden(int n) const { return kWarpHidden * warp_ + 8 * n + 2 * member(); }
  // In the reduction a thread works on four neighbouring columns of one row; a row is half a warp.
  TTT_DEVICE int sum_row() const { return threadIdx.x / 16; }
  TTT_DEVICE int sum_column() const { return threadIdx.x % 16 * 4; }
  TTT_DEVICE float* token_eta() const { return reinterpret_cast<float*>(shared_ + kTokenEta); }
  // In shared memory, after tau: there is no register left for it.
  TTT_DEVICE std::uint32_t& wants_losses() const {
    return *reinterpret_cast<std::uint32_t*>(token_eta() + kPrefillK);
  }
  TTT_DEVICE unsigned char* gradient_tile() const { return shared_ + kGradients; }
  TTT_DEVICE unsigned char* update_tile() const { return shared_ + kGradients + Tile::kBytes; }
  TTT_DEVICE float* part(int parts, int warp, int row, int column) const {
    return reinterpret_cast<float*>(shared_ + parts + warp * kPartBytes) + row * kPartStride + column;
  }
  TTT_DEVICE void load(int c) {
    Ring::load(shared_, c, p_, range_, head_, c == 0 ? open_key(0) : nullptr, open_row_stride());
  }

  // Where w1_[m][j][e] and w2_[m][j][e] are stored.
  TTT_DEVICE float* weight_1(int m, int j, int e) const {
    return W1() + (8 * j + 2 * member() + e % 2) * kHidden + kWarpHidden * warp_ + 16 * m + group() +
           8 * (e / 2);
  }
  TTT_DEVICE float* weight_2(int m, int j, int e) const {
    return W2() + (hidden(j) + e % 2) * f + 16 * m + group() + 8 * (e / 2);
  }

  TTT_DEVICE void read_weights() {
    TTT_UNROLL for (int m = 0; m < 2; ++m) {
      TTT_UNROLL for (int j = 0; j < 8; ++j) {
        TTT_UNROLL for (int e = 0; e < 4; ++e) w1_[m][j][e] = *weight_1(m, j, e);
      }
    }
    TTT_UNROLL for (int m = 0; m < 4; ++m) {
      TTT_UNROLL for (int j = 0; j < 4; ++j) {
        TTT_UNROLL for (int e = 0; e < 4; ++e) w2_[m][j][e] = *weight_2(m, j, e);
      }
    }
    TTT_UNROLL for (int n = 0; n < 4; ++n) {
      TTT_UNROLL for (int e = 0; e < 2; ++e) bias_1_[n][e] = b1()[hidden(n) + e];
    }
    TTT_UNROLL for (int e = 0; e < 2; ++e) bias_2_[e] = b2()[8 * warp_ + 2 * member() + e];
    TTT_UNROLL for (int e = 0; e < 4; ++e) {
      gamma_[e] = p_.norm_weight[head_ * f + sum_column() + e];
      beta_[e] = p_.norm_bias[head_ * f + sum_column() + e];
    }
    gamma_squares_ = squares_of_gamma();
  }

  TTT_DEVICE void write_weights() {
    TTT_UNROLL for (int m = 0; m < 2; ++m) {
      TTT_UNROLL for (int j = 0; j < 8; ++j) {
        TTT_UNROLL for (int e = 0; e < 4; ++e) * weight_1(m, j, e) = w1_[m][j][e];
      }
    }
    TTT_UNROLL for (int m = 0; m < 4; ++m) {
      TTT_UNROLL for (int j = 0; j < 4; ++j) {
        TTT_UNROLL for (int e = 0; e < 4; ++e) * weight_2(m, j, e) = w2_[m][j][e];
      }
    }
    if (group() == 0) {
      TTT_UNROLL for (int n = 0; n < 4; ++n) {
        TTT_UNROLL for (int e = 0; e < 2; ++e) b1()[hidden(n) + e] = bias_1_[n][e];
      }
      TTT_UNROLL for (int e = 0; e < 2; ++e) b2()[8 * warp_ + 2 * member() + e] = bias_2_[e];
    }
  }

  // B fragments of the weights, slice s of 16 rows: register r of the tile of columns n.
  TTT_DEVICE std::uint32_t b_of_W1(int s, int n, int r) const {
    const float* const w = w1_[n / 2][2 * s + r];
    return pack_bf16(w[2 * (n % 2)], w[2 * (n % 2) + 1]);
  }
  TTT_DEVICE std::uint32_t b_of_W2(int s, int out_tile, int r) const {
    const float* const w = w2_[out_tile / 2][2 * s + r];
    return pack_bf16(w[2 * (out_tile % 2)], w[2 * (out_tile % 2) + 1]);
  }

  template <bool kSteady>
  TTT_DEVICE void step(int c) {
    const unsigned char* const stage = Ring::stage(shared_, c);
    const bool learns = kSteady || c < range_.mini_batches();
    // x as A fragments of two slices of 16 hidden units; GELU'(a) of tile n, row group() + 8 i, in bf16
    // pairs.
    std::uint32_t x[2][4], slopes[4][2];
    if (learns) project<kSteady>(c, stage, x, slopes);
    sync_block();
    load(c + 2);
    reduce<kSteady>(c, stage, learns);
    wait_copies<1>();
    sync_block();
    if (learns) learn_and_read<kSteady>(c, stage, x, slopes);
  }

  // a = k W1 + b1, x = GELU(a), part of z = x W2 + b2.
  template <bool kSteady>
  TTT_DEVICE void project(int c, const unsigned char* stage, std::uint32_t (&x)[2][4],
                          std::uint32_t (&slopes)[4][2]) {
    float a[4][4];
    start_from_bias_1(a);
    TTT_UNROLL for (int s = 0; s < f / 16; ++s) {
      std::uint32_t keys[4];
      load_matrices(keys, stage + Ring::kKey + Tile::slice_offset(lane_, s));
      TTT_UNROLL for (int n = 0; n < 4; ++n) mma_bf16(a[n], keys, b_of_W1(s, n, 0), b_of_W1(s, n, 1));
    }
    TTT_UNROLL for (int n = 0; n < 4; ++n) {
      TTT_UNROLL for (int i = 0; i < 2; ++i) {
        float value[2], slope[2];
        TTT_UNROLL for (int e = 0; e < 2; ++e) gelu_both(a[n][2 * i + e], value[e], slope[e]);
        const int row = group() + 8 * i;
        if (!kSteady && range_.is_open_row(c, row)) {
          const float* const kept = open_hidden(row) + hidden(n);
          value[0] = kept[0];
          value[1] = kept[1];
        }
        x[n / 2][n % 2 * 2 + i] = pack_bf16(value[0], value[1]);
        slopes[n][i] = pack_bf16(slope[0], slope[1]);
      }
    }
    TTT_UNROLL for (int out_tile = 0; out_tile < f / 8; ++out_tile) {
      float z[4];
      start_from_bias_2(out_tile, z);
      TTT_UNROLL for (int s = 0; s < 2; ++s)
          mma_bf16(z, x[s], b_of_W2(s, out_tile, 0), b_of_W2(s, out_tile, 1));
      store_part(kParts, out_tile, z);
    }
  }

  TTT_DEVICE void start_from_bias_1(float (&a)[4][4]) const {
    TTT_UNROLL for (int n = 0; n < 4; ++n) {
      a[n][0] = a[n][2] = bias_1_[n][0];
      a[n][1] = a[n][3] = bias_1_[n][1];
    }
  }
  // Warp w adds b2 to the columns of tile w.
  TTT_DEVICE void start_from_bias_2(int out_tile, float (&z)[4]) const {
    const bool mine = out_tile == warp_;
    z[0] = z[2] = mine ? bias_2_[0] : 0.0F;
    z[1] = z[3] = mine ? bias_2_[1] : 0.0F;
  }
  TTT_DEVICE void store_part(int parts, int out_tile, const float (&z)[4]) {
    const int column = 8 * out_tile + 2 * member();
    *reinterpret_cast<float2*>(part(parts, warp_, group(), column)) = float2{z[0], z[1]};
    *reinterpret_cast<float2*>(part(parts, warp_, group() + 8, column)) = float2{z[2], z[3]};
  }
  TTT_DEVICE void sum_parts(int parts, float (&sum)[4]) const {
    TTT_UNROLL for (int e = 0; e < 4; ++e) sum[e] = 0.0F;
    TTT_UNROLL for (int warp = 0; warp < kWarps; ++warp) {
      const float4 values = *reinterpret_cast<const float4*>(part(parts, warp, sum_row(), sum_column()));
      sum[0] += values.x;
      sum[1] += values.y;
      sum[2] += values.z;
      sum[3] += values.w;
    }
  }

  // All parts together: g2 of mini-batch c, the output of c - 1.
  template <bool kSteady>
  TTT_DEVICE void reduce(int c, const unsigned char* stage, bool learns) {
    const bool reads = kSteady || c > 0;
    float z[4] = {0.0F, 0.0F, 0.0F, 0.0F}, read[4] = {0.0F, 0.0F, 0.0F, 0.0F},
          u[4] = {0.0F, 0.0F, 0.0F, 0.0F};
    if (learns) {
      sum_parts(kParts, z);
      const uint2 targets =
          *reinterpret_cast<const uint2*>(stage + Ring::kTarget + Tile::pair_offset(sum_row(), sum_column()));
      const float target[4] = {low_bf16(targets.x), high_bf16(targets.x), low_bf16(targets.y),
                               high_bf16(targets.y)};
      TTT_UNROLL for (int e = 0; e < 4; ++e) u[e] = gamma_[e] * (beta_[e] - target[e]);
    }
    if (reads) sum_parts(kReadParts, read);
    RowSums sums = {};
    TTT_UNROLL for (int e = 0; e < 4; ++e) add_element(gamma_[e], z[e], u[e], read[e], sums);
    add_lanes(sums);
    if (learns) take_gradient<kSteady>(c, stage, z, u, loss_norm<f>(sums, gamma_squares_));
    if (reads) write_out<kSteady>(c - 1, read, norm_scale<f>(sums.o, sums.oo));
  }

  template <bool kSteady>
  TTT_DEVICE void take_gradient(int c, const unsigned char* stage, const float (&z)[4], const float (&u)[4],
                                const LossNorm& norm) {
    const int row = sum_row(), token = range_.row_of(c, row);
    const float alpha_scale = reinterpret_cast<const float*>(stage + Ring::kAlpha)[row] * norm.scale;
    float g[4];
    TTT_UNROLL for (int e = 0; e < 4; ++e) g[e] = scaled_gradient(alpha_scale, gamma_[e], z[e], u[e], norm);
    const int at = Tile::pair_offset(row, sum_column());
    if (!kSteady) {
      float* const kept = open_gradient_2(row) + sum_column();
      if (range_.is_open_row(c, row)) {
        TTT_UNROLL for (int e = 0; e < 4; ++e) g[e] = kept[e];
      } else if (!range_.holds(token)) {
        TTT_UNROLL for (int e = 0; e < 4; ++e) g[e] = 0.0F;  // beyond the end
      } else if (!range_.complete(c)) {
        const uint2 keys = *reinterpret_cast<const uint2*>(stage + Ring::kKey + at);
        float* const kept_key = open_key(row) + sum_column();
        TTT_UNROLL for (int e = 0; e < 4; ++e) kept[e] = g[e];
        kept_key[0] = low_bf16(keys.x);
        kept_key[1] = high_bf16(keys.x);
        kept_key[2] = low_bf16(keys.y);
        kept_key[3] = high_bf16(keys.y);
      }
    }
    const float commit = -token_eta()[kPrefillK - 1];
    *reinterpret_cast<uint2*>(gradient_tile() + at) = uint2{pack_bf16(g[0], g[1]), pack_bf16(g[2], g[3])};
    *reinterpret_cast<uint2*>(update_tile() + at) =
        uint2{pack_bf16(commit * g[0], commit * g[1]), pack_bf16(commit * g[2], commit * g[3])};
    if (sum_column() == 0 && wants_losses() != 0 && range_.holds(token)) {
      p_.losses[(range_.first_row + token) * p_.losses_row_stride + head_] =
          norm.loss_less_target +
          half_target_distance<f>(stage + Ring::kTarget, row, p_.norm_bias + head_ * f);
    }
  }

  // out = q + gamma N(zbar) + beta
  template <bool kSteady>
  TTT_DEVICE void write_out(int c, const float (&read)[4], const NormScale& norm) {
    const int row = range_.row_of(c, sum_row());
    if (!kSteady && !range_.holds(row)) return;
    const std::size_t at = (range_.first_row + row) * p_.row_stride + head_ * f + sum_column();
    const uint2 query = *reinterpret_cast<const uint2*>(p_.q + at);
    float out[4] = {low_bf16(query.x), high_bf16(query.x), low_bf16(query.y), high_bf16(query.y)};
    TTT_UNROLL for (int e = 0; e < 4; ++e) {
      out[e] += fmaf(gamma_[e], fmaf(read[e], norm.scale, norm.shift), beta_[e]);
    }
    *reinterpret_cast<uint2*>(p_.out + at) = uint2{pack_bf16(out[0], out[1]), pack_bf16(out[2], out[3])};
  }

  template <bool kSteady>
  TTT_DEVICE void learn_and_read(int c, const unsigned char* stage, const std::uint32_t (&x)[2][4],
                                 const std::uint32_t (&slopes)[4][2]) {
    const bool commits = kSteady || range_.complete(c);
    float g1[4][4];
    hidden_gradient<kSteady>(c, x, slopes, g1);

    float scores[2][4] = {{0.0F, 0.0F, 0.0F, 0.0F}, {0.0F, 0.0F, 0.0F, 0.0F}}, a[4][4];
    start_from_bias_1(a);
    TTT_UNROLL for (int s = 0; s < f / 16; ++s) {
      std::uint32_t queries[4], keys[4];
      load_matrices(queries, stage + Ring::kQ + Tile::slice_offset(lane_, s));
      load_matrices(keys, stage + Ring::kKey + Tile::slice_offset(lane_, s));
      mma_bf16(scores[0], queries, keys[0], keys[2]);
      mma_bf16(scores[1], queries, keys[1], keys[3]);
      TTT_UNROLL for (int n = 0; n < 4; ++n) mma_bf16(a[n], queries, b_of_W1(s, n, 0), b_of_W1(s, n, 1));
    }
    TTT_UNROLL for (int n = 0; n < 2; ++n) {
      TTT_UNROLL for (int e = 0; e < 4; ++e) scores[n][e] =
          causal_eta(token_eta(), n, e) * (scores[n][e] + 1.0F);
    }
    std::uint32_t coefficients[4];
    pack_scores(scores, coefficients);
    TTT_UNROLL for (int n = 0; n < 4; ++n) {
      mma_bf16(a[n], coefficients, transpose_8x8(pack_bf16(g1[n][0], g1[n][1])),
               transpose_8x8(pack_bf16(g1[n][2], g1[n][3])));
    }
    if (commits) commit_first_layer(stage, g1);
    read_second_layer(x, a);
    if (commits) commit_second_layer(x);
  }

  // g1 = (g2 W2^T) GELU'(a)
  template <bool kSteady>
  TTT_DEVICE void hidden_gradient(int c, const std::uint32_t (&x)[2][4], const std::uint32_t (&slopes)[4][2],
                                  float (&g1)[4][4]) {
    TTT_UNROLL for (int n = 0; n < 4; ++n) { TTT_UNROLL for (int e = 0; e < 4; ++e) g1[n][e] = 0.0F; }
    TTT_UNROLL for (int s = 0; s < f / 16; ++s) {
      std::uint32_t gradients[4];
      load_matrices(gradients, gradient_tile() + Tile::slice_offset(lane_, s));
      TTT_UNROLL for (int n = 0; n < 4; ++n) {
        mma_bf16(g1[n], gradients, transpose_8x8(pack_bf16(w2_[s][n][0], w2_[s][n][1])),
                 transpose_8x8(pack_bf16(w2_[s][n][2], w2_[s][n][3])));
      }
    }
    TTT_UNROLL for (int n = 0; n < 4; ++n) {
      TTT_UNROLL for (int i = 0; i < 2; ++i) {
        g1[n][2 * i] *= low_bf16(slopes[n][i]);
        g1[n][2 * i + 1] *= high_bf16(slopes[n][i]);
        if (kSteady) continue;
        const int row = group() + 8 * i;
        float* const kept = open_gradient_1(row) + hidden(n);
        if (range_.is_open_row(c, row)) {
          g1[n][2 * i] = kept[0];
          g1[n][2 * i + 1] = kept[1];
        } else if (!range_.complete(c) && range_.holds(range_.row_of(c, row))) {
          kept[0] = g1[n][2 * i];
          kept[1] = g1[n][2 * i + 1];
          const std::uint32_t pair = x[n / 2][n % 2 * 2 + i];
          open_hidden(row)[hidden(n)] = low_bf16(pair);
          open_hidden(row)[hidden(n) + 1] = high_bf16(pair);
        }
      }
    }
  }

  // W1 -= tau_15 k^T g1, b1 -= tau_15 sum g1
  TTT_DEVICE void commit_first_layer(const unsigned char* stage, const float (&g1)[4][4]) {
    const float commit = -token_eta()[kPrefillK - 1];
    std::uint32_t updates[4][2];
    TTT_UNROLL for (int n = 0; n < 4; ++n) {
      TTT_UNROLL for (int i = 0; i < 2; ++i) {
        updates[n][i] = transpose_8x8(pack_bf16(commit * g1[n][2 * i], commit * g1[n][2 * i + 1]));
      }
    }
    TTT_UNROLL for (int s = 0; s < f / 16; ++s) {
      std::uint32_t keys[4];
      load_matrices_transposed(keys, stage + Ring::kKey + Tile::slice_offset(lane_, s));
      TTT_UNROLL for (int m = 0; m < 2; ++m) {
        const std::uint32_t a[4] = {updates[2 * m][0], updates[2 * m + 1][0], updates[2 * m][1],
                                    updates[2 * m + 1][1]};
        mma_bf16(w1_[m][2 * s], a, keys[0], keys[1]);
        mma_bf16(w1_[m][2 * s + 1], a, keys[2], keys[3]);
      }
    }
    TTT_UNROLL for (int n = 0; n < 4; ++n) add_rows(updates[n][0], updates[n][1], bias_1_[n]);
  }

  // This warp's part of zbar = xbar W2 + b2 - tau_i sum_j (xbar_i . x_j + 1) g2_j. The "+ 1" is added, with
  // b2, by the warp that the columns belong to.
  TTT_DEVICE void read_second_layer(const std::uint32_t (&x)[2][4], const float (&a)[4][4]) {
    std::uint32_t xbar[2][4];
    TTT_UNROLL for (int n = 0; n < 4; ++n) {
      TTT_UNROLL for (int i = 0; i < 2; ++i) {
        float value[2], slope;
        TTT_UNROLL for (int e = 0; e < 2; ++e) gelu_both(a[n][2 * i + e], value[e], slope);
        xbar[n / 2][n % 2 * 2 + i] = pack_bf16(value[0], value[1]);
      }
    }
    float scores[2][4] = {{0.0F, 0.0F, 0.0F, 0.0F}, {0.0F, 0.0F, 0.0F, 0.0F}}, scores_and_one[2][4];
    TTT_UNROLL for (int s = 0; s < 2; ++s) {
      mma_bf16(scores[0], xbar[s], x[s][0], x[s][2]);
      mma_bf16(scores[1], xbar[s], x[s][1], x[s][3]);
    }
    TTT_UNROLL for (int n = 0; n < 2; ++n) {
      TTT_UNROLL for (int e = 0; e < 4; ++e) {
        const float eta = causal_eta(token_eta(), n, e);
        scores[n][e] *= eta;
        scores_and_one[n][e] = scores[n][e] + eta;
      }
    }
    std::uint32_t coefficients[4], coefficients_and_one[4];
    pack_scores(scores, coefficients);
    pack_scores(scores_and_one, coefficients_and_one);
    TTT_UNROLL for (int s = 0; s < f / 16; ++s) {
      std::uint32_t gradients[4];
      load_matrices_transposed(gradients, gradient_tile() + Tile::slice_offset(lane_, s));
      TTT_UNROLL for (int h = 0; h < 2; ++h) {
        const int out_tile = 2 * s + h;
        float z[4];
        start_from_bias_2(out_tile, z);
        TTT_UNROLL for (int slice = 0; slice < 2; ++slice) {
          mma_bf16(z, xbar[slice], b_of_W2(slice, out_tile, 0), b_of_W2(slice, out_tile, 1));
        }
        std::uint32_t mine[4];
        TTT_UNROLL for (int r = 0; r < 4; ++r) mine[r] =
            out_tile == warp_ ? coefficients_and_one[r] : coefficients[r];
        mma_bf16(z, mine, gradients[2 * h], gradients[2 * h + 1]);
        store_part(kReadParts, out_tile, z);
      }
    }
  }

  // W2 -= tau_15 x^T g2, b2 -= tau_15 sum g2
  TTT_DEVICE void commit_second_layer(const std::uint32_t (&x)[2][4]) {
    std::uint32_t hidden_by_token[4][2];
    TTT_UNROLL for (int n = 0; n < 4; ++n) {
      TTT_UNROLL for (int i = 0; i < 2; ++i) hidden_by_token[n][i] = transpose_8x8(x[n / 2][n % 2 * 2 + i]);
    }
    TTT_UNROLL for (int m = 0; m < 4; ++m) {
      std::uint32_t updates[4];
      load_matrices_transposed(updates, update_tile() + Tile::slice_offset(lane_, m));
      const std::uint32_t a[4] = {updates[0], updates[2], updates[1], updates[3]};
      TTT_UNROLL for (int n = 0; n < 4; ++n)
          mma_bf16(w2_[m][n], a, hidden_by_token[n][0], hidden_by_token[n][1]);
    }
    std::uint32_t updates[4];  // of the columns [16 (w / 2), 16 (w / 2) + 16)
    load_matrices_transposed(updates, update_tile() + Tile::slice_offset(lane_, warp_ / 2));
    const bool upper = warp_ % 2 == 1;
    add_rows(upper ? updates[2] : updates[0], upper ? updates[3] : updates[1], bias_2_);
  }

  float w1_[2][8][4];   // W1^T: tiles [16 hidden, 8 in]
  float w2_[4][4][4];   // W2^T: tiles [16 out, 8 hidden]
  float bias_1_[4][2];  // of this warp's hidden units
  float bias_2_[2];     // of the outputs [8 w, 8 w + 8)
  float gamma_[4], beta_[4], gamma_squares_;
};

__global__ void __launch_bounds__(MlpPrefill::kThreads, 1) ttt_mlp_prefill(const TttPrefillParams p) {
  TTT_DYNAMIC_SHARED(shared);
  MlpPrefill(p, shared).run();
}

}  // namespace ttt::cuda
