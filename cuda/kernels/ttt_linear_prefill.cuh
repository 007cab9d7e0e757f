// SPDX-License-Identifier: Apache-2.0
// See ttt_linear_prefill.h. A block of f / 16 warps works on one head of one segment; warp w holds the fast
// weights of outputs [16 w, 16 w + 16) in registers, as the fp32 accumulators of W^T [out, in] in tiles of
// 16x8. Packed to bf16 these are the B fragments of k W: W is never transposed and never leaves the
// registers.
//
// One step c of the loop, with one barrier:
//   z = k W + b of mini-batch c, and its sums over this warp's columns; those of the read-out of c - 1 go
//   with them barrier: the sums of all warps g = alpha dLoss/dz;  read-out zbar = q W + b - tau_i sum_{j <=
//   i} (q_i . k_j + 1) g_j;  W -= tau_15 k^T g out = q + N(zbar) of mini-batch c - 1
#pragma once

#include "cuda/kernels/ttt_linear_prefill.h"
#include "cuda/kernels/ttt_prefill_loop.cuh"
#include "cuda/kernels/ttt_prefill_tiles.cuh"

namespace ttt::cuda {

// kStages: 3 suffice, because a stage is loaded again only after the barrier that follows its last use. Tests
// plant a race with 2.
template <int f, int kStages = 3>
class LinearPrefill {
 public:
  static constexpr int kHeadSize = f, kWarps = f / 16, kThreads = kWarps * kWarp;
  using Tile = OperandTile<f>;
  using Ring = OperandRing<f, kThreads, kStages>;
  // RowSums of [2 steps][warps][16 rows], then tau [16], then whether losses are wanted
  static constexpr int kSumsBytes = kWarps * kPrefillK * static_cast<int>(sizeof(RowSums));
  static constexpr int kSharedBytes = Ring::kBytes + 2 * kSumsBytes + kPrefillK * 4 + 4;

  TTT_DEVICE LinearPrefill(const TttPrefillParams& params, unsigned char* shared)
      : p_(params),
        shared_(shared),
        head_(blockIdx.x),
        lane_(threadIdx.x % kWarp),
        warp_(threadIdx.x / kWarp) {
    range_ = prefill_range(p_.segments[blockIdx.y]);
  }

  TTT_DEVICE void run() { read_segment(*this); }

 private:
  template <typename Kernel>
  friend TTT_DEVICE void read_segment(Kernel& kernel);

  // In all that follows h and i in {0, 1}: accumulator h covers columns [8 h, 8 h + 8) of the warp's 16,
  // elements 2 i and 2 i + 1 of it row group() + 8 i, columns column(h) and the next.
  TTT_DEVICE int group() const { return lane_ / 4; }
  TTT_DEVICE int member() const { return lane_ % 4; }
  TTT_DEVICE int column(int h) const { return 16 * warp_ + 8 * h + 2 * member(); }
  TTT_DEVICE float* token_eta() const {
    return reinterpret_cast<float*>(shared_ + Ring::kBytes + 2 * kSumsBytes);
  }
  // In shared memory: there is no register left for it.
  TTT_DEVICE std::uint32_t& wants_losses() const {
    return *reinterpret_cast<std::uint32_t*>(token_eta() + kPrefillK);
  }
  TTT_DEVICE float4* row_sums(int c, int warp, int row) const {
    return reinterpret_cast<float4*>(shared_ + Ring::kBytes) +
           ((c % 2 * kWarps + warp) * kPrefillK + row) * 2;
  }
  // The slot's state, and this head's parts of it. The address is read again where it is needed: registers
  // are scarcer.
  TTT_DEVICE float* state() const { return p_.segments[blockIdx.y].state; }
  TTT_DEVICE float* W() const { return state() + p_.fast_weights + static_cast<std::size_t>(head_) * f * f; }
  TTT_DEVICE float* b() const {
    return state() + p_.fast_weights + static_cast<std::size_t>(p_.num_heads) * f * f + head_ * f;
  }
  TTT_DEVICE int open_row_stride() const { return 2 * p_.num_heads * f; }
  TTT_DEVICE float* open_key(int row) const {
    return state() + p_.open_rows + row * open_row_stride() + head_ * f;
  }
  TTT_DEVICE float* open_gradient(int row) const { return open_key(row) + p_.num_heads * f; }
  TTT_DEVICE void load(int c) {
    Ring::load(shared_, c, p_, range_, head_, c == 0 ? open_key(0) : nullptr, open_row_stride());
  }

  TTT_DEVICE void read_weights() {
    TTT_UNROLL for (int j = 0; j < f / 8; ++j) {
      TTT_UNROLL for (int e = 0; e < 4; ++e) w_[j][e] = *weight(j, e);
    }
    TTT_UNROLL for (int h = 0; h < 2; ++h) {
      TTT_UNROLL for (int e = 0; e < 2; ++e) {
        bias_[h][e] = bias_[h][2 + e] = b()[column(h) + e];
        gamma_[h][e] = p_.norm_weight[head_ * f + column(h) + e];
        beta_[h][e] = p_.norm_bias[head_ * f + column(h) + e];
        read_[h][e] = read_[h][2 + e] = 0.0F;
        query_[h][e] = 0;
      }
    }
    gamma_squares_ = 0.0F;
    for (int i = 0; i < f; ++i) {
      const float gamma = p_.norm_weight[head_ * f + i];
      gamma_squares_ = fmaf(gamma, gamma, gamma_squares_);
    }
  }

  TTT_DEVICE void write_weights() {
    TTT_UNROLL for (int j = 0; j < f / 8; ++j) {
      TTT_UNROLL for (int e = 0; e < 4; ++e) * weight(j, e) = w_[j][e];
    }
    if (group() == 0) {
      TTT_UNROLL for (int h = 0; h < 2; ++h) {
        TTT_UNROLL for (int e = 0; e < 2; ++e) b()[column(h) + e] = bias_[h][e];
      }
    }
  }
  // Where w_[j][e] is stored: output 16 w + group + 8 (e / 2), input 8 j + 2 member + e % 2.
  TTT_DEVICE float* weight(int j, int e) const {
    return W() + (8 * j + 2 * member() + e % 2) * f + 16 * warp_ + group() + 8 * (e / 2);
  }

  // kSteady: mini-batch c is complete, all its tokens and those of c - 1 are of this segment, and c > 0.
  template <bool kSteady>
  TTT_DEVICE void step(int c) {
    const unsigned char* const stage = Ring::stage(shared_, c);
    const bool learns = kSteady || c < range_.mini_batches();
    std::uint32_t keys[f / 16][4], weights[f / 16][2][2];  // A fragments of k, B fragments of W
    float z[2][4], u[2][4], sums[2][8];
    TTT_UNROLL for (int i = 0; i < 2; ++i) { TTT_UNROLL for (int n = 0; n < 8; ++n) sums[i][n] = 0.0F; }
    if (learns) {
      TTT_UNROLL for (int s = 0; s < f / 16; ++s) {
        load_matrices(keys[s], stage + Ring::kKey + Tile::slice_offset(lane_, s));
        TTT_UNROLL for (int h = 0; h < 2; ++h) {
          weights[s][h][0] = pack_bf16(w_[2 * s][2 * h], w_[2 * s][2 * h + 1]);
          weights[s][h][1] = pack_bf16(w_[2 * s + 1][2 * h], w_[2 * s + 1][2 * h + 1]);
        }
      }
      project(keys, weights, z);
      add_loss_sums(stage, z, u, sums);
    }
    add_read_sums(sums);
    exchange_sums(c, sums);
    wait_copies<0>();
    sync_block();
    load(c + 2);

    LossNorm loss[2];
    NormScale read[2];
    read_norms<kSteady>(c, stage, loss, read);
    float read_before[2][4];
    std::uint32_t query_before[2][2];
    TTT_UNROLL for (int h = 0; h < 2; ++h) {
      TTT_UNROLL for (int e = 0; e < 4; ++e) read_before[h][e] = read_[h][e];
      query_before[h][0] = query_[h][0];
      query_before[h][1] = query_[h][1];
    }
    if (learns) learn_and_read<kSteady>(c, stage, keys, weights, z, u, loss);
    if (kSteady || c > 0) write_out<kSteady>(c - 1, read_before, query_before, read);
  }

  // z = k W + b, in two chains of sums.
  TTT_DEVICE void project(const std::uint32_t (&keys)[f / 16][4],
                          const std::uint32_t (&weights)[f / 16][2][2], float (&z)[2][4]) {
    float odd[2][4];
    TTT_UNROLL for (int h = 0; h < 2; ++h) {
      TTT_UNROLL for (int e = 0; e < 4; ++e) {
        z[h][e] = bias_[h][e];
        odd[h][e] = 0.0F;
      }
    }
    TTT_UNROLL for (int s = 0; s < f / 16; s += 2) {
      TTT_UNROLL for (int h = 0; h < 2; ++h) {
        mma_bf16(z[h], keys[s], weights[s][h][0], weights[s][h][1]);
        mma_bf16(odd[h], keys[s + 1], weights[s + 1][h][0], weights[s + 1][h][1]);
      }
    }
    TTT_UNROLL for (int h = 0; h < 2; ++h) { TTT_UNROLL for (int e = 0; e < 4; ++e) z[h][e] += odd[h][e]; }
  }

  // u and this lane's part of the sums of two rows; sums[i] is a RowSums.
  TTT_DEVICE void add_loss_sums(const unsigned char* stage, const float (&z)[2][4], float (&u)[2][4],
                                float (&sums)[2][8]) {
    TTT_UNROLL for (int h = 0; h < 2; ++h) {
      TTT_UNROLL for (int i = 0; i < 2; ++i) {
        const std::uint32_t targets = *reinterpret_cast<const std::uint32_t*>(
            stage + Ring::kTarget + Tile::pair_offset(group() + 8 * i, column(h)));
        TTT_UNROLL for (int e = 0; e < 2; ++e) {
          const float target = e == 0 ? low_bf16(targets) : high_bf16(targets);
          const float gamma = gamma_[h][e], zz = z[h][2 * i + e];
          const float uu = gamma * (beta_[h][e] - target), gz = gamma * gamma * zz;
          u[h][2 * i + e] = uu;
          sums[i][0] += zz;
          sums[i][1] = fmaf(zz, zz, sums[i][1]);
          sums[i][2] += gz;
          sums[i][3] = fmaf(gz, zz, sums[i][3]);
          sums[i][4] += uu;
          sums[i][5] = fmaf(uu, zz, sums[i][5]);
        }
      }
    }
  }

  TTT_DEVICE void add_read_sums(float (&sums)[2][8]) {
    TTT_UNROLL for (int h = 0; h < 2; ++h) {
      TTT_UNROLL for (int i = 0; i < 2; ++i) {
        TTT_UNROLL for (int e = 0; e < 2; ++e) {
          const float value = read_[h][2 * i + e];
          sums[i][6] += value;
          sums[i][7] = fmaf(value, value, sums[i][7]);
        }
      }
    }
  }

  // Adds up the four lanes of a group, each of which ends with half the sums of one row, and stores them.
  TTT_DEVICE void exchange_sums(int c, const float (&sums)[2][8]) {
    const bool second_row = member() % 2 == 1, second_half = member() / 2 == 1;
    float of_row[8], half[4];
    TTT_UNROLL for (int n = 0; n < 8; ++n) {
      const float theirs = shuffle_xor(second_row ? sums[0][n] : sums[1][n], 1);
      of_row[n] = (second_row ? sums[1][n] : sums[0][n]) + theirs;
    }
    TTT_UNROLL for (int n = 0; n < 4; ++n) {
      const float theirs = shuffle_xor(second_half ? of_row[n] : of_row[4 + n], 2);
      half[n] = (second_half ? of_row[4 + n] : of_row[n]) + theirs;
    }
    row_sums(c, warp_, group() + 8 * second_row)[second_half] = float4{half[0], half[1], half[2], half[3]};
  }

  // The norms of rows group() and group() + 8; a lane works out one of them and hands it to its neighbour.
  template <bool kSteady>
  TTT_DEVICE void read_norms(int c, const unsigned char* stage, LossNorm (&loss)[2], NormScale (&read)[2]) {
    const bool second_row = member() % 2 == 1;
    const int row = group() + 8 * second_row;
    RowSums sums = {};
    TTT_UNROLL for (int warp = 0; warp < kWarps; ++warp) {
      const float4 first = row_sums(c, warp, row)[0], second = row_sums(c, warp, row)[1];
      sums.z += first.x;
      sums.zz += first.y;
      sums.gz += first.z;
      sums.gzz += first.w;
      sums.u += second.x;
      sums.uz += second.y;
      sums.o += second.z;
      sums.oo += second.w;
    }
    const LossNorm mine = loss_norm<f>(sums, gamma_squares_);
    const NormScale mine_read = norm_scale<f>(sums.o, sums.oo);
    const auto both = [second_row](float value, float& first, float& second) {
      const float theirs = shuffle_xor(value, 1);
      first = second_row ? theirs : value;
      second = second_row ? value : theirs;
    };
    both(mine.scale, loss[0].scale, loss[1].scale);
    both(mine.shift, loss[0].shift, loss[1].shift);
    both(mine.mean_g, loss[0].mean_g, loss[1].mean_g);
    both(mine.mean_gz, loss[0].mean_gz, loss[1].mean_gz);
    both(mine_read.scale, read[0].scale, read[1].scale);
    both(mine_read.shift, read[0].shift, read[1].shift);
    if (warp_ == 0 && member() < 2 && wants_losses() != 0) {
      const int token = range_.row_of(c, row);
      if (range_.holds(token)) {
        p_.losses[(range_.first_row + token) * p_.losses_row_stride + head_] =
            mine.loss_less_target +
            half_target_distance<f>(stage + Ring::kTarget, row, p_.norm_bias + head_ * f);
      }
    }
  }

  template <bool kSteady>
  TTT_DEVICE void learn_and_read(int c, const unsigned char* stage, const std::uint32_t (&keys)[f / 16][4],
                                 const std::uint32_t (&weights)[f / 16][2][2], const float (&z)[2][4],
                                 const float (&u)[2][4], const LossNorm (&loss)[2]) {
    // Gradients as operands [out, token], once as they are and once times -tau_15: both from the fp32
    // numbers, which the state keeps, so that it does not matter when a mini-batch is completed.
    const float commit = -token_eta()[kPrefillK - 1];
    std::uint32_t gradients[2][2], updates[2][2];
    TTT_UNROLL for (int i = 0; i < 2; ++i) {
      const int row = group() + 8 * i;
      const float alpha_scale = reinterpret_cast<const float*>(stage + Ring::kAlpha)[row] * loss[i].scale;
      TTT_UNROLL for (int h = 0; h < 2; ++h) {
        float g[2];
        TTT_UNROLL for (int e = 0; e < 2; ++e) {
          g[e] = scaled_gradient(alpha_scale, gamma_[h][e], z[h][2 * i + e], u[h][2 * i + e], loss[i]);
        }
        if (!kSteady) keep_or_take_open_row(c, row, h, stage, g);
        gradients[h][i] = transpose_8x8(pack_bf16(g[0], g[1]));
        updates[h][i] = transpose_8x8(pack_bf16(commit * g[0], commit * g[1]));
      }
    }
    TTT_UNROLL for (int h = 0; h < 2; ++h) {
      TTT_UNROLL for (int e = 0; e < 4; ++e) read_[h][e] = bias_[h][e];
    }
    if (kSteady || range_.complete(c)) commit_rows(stage, updates);

    // scores [16 tokens, 16 keys] = -tau_i (q_i . k_j + 1) for j <= i
    float scores[2][4] = {{0.0F, 0.0F, 0.0F, 0.0F}, {0.0F, 0.0F, 0.0F, 0.0F}};
    TTT_UNROLL for (int s = 0; s < f / 16; ++s) {
      std::uint32_t queries[4];
      load_matrices(queries, stage + Ring::kQ + Tile::slice_offset(lane_, s));
      std::uint32_t key[4] = {keys[s][0], keys[s][1], keys[s][2], keys[s][3]};
      // At 128 the registers do not suffice to keep them.
      if (f > 96) load_matrices(key, stage + Ring::kKey + Tile::slice_offset(lane_, s));
      mma_bf16(scores[0], queries, key[0], key[2]);
      mma_bf16(scores[1], queries, key[1], key[3]);
      TTT_UNROLL for (int h = 0; h < 2; ++h) mma_bf16(read_[h], queries, weights[s][h][0], weights[s][h][1]);
    }
    TTT_UNROLL for (int n = 0; n < 2; ++n) {
      TTT_UNROLL for (int e = 0; e < 4; ++e) {
        const int i = group() + 8 * (e / 2), j = 8 * n + 2 * member() + e % 2;
        scores[n][e] = j <= i ? -token_eta()[i] * (scores[n][e] + 1.0F) : 0.0F;
      }
    }
    const std::uint32_t coefficients[4] = {
        pack_bf16(scores[0][0], scores[0][1]), pack_bf16(scores[0][2], scores[0][3]),
        pack_bf16(scores[1][0], scores[1][1]), pack_bf16(scores[1][2], scores[1][3])};
    TTT_UNROLL for (int h = 0; h < 2; ++h) {
      mma_bf16(read_[h], coefficients, gradients[h][0], gradients[h][1]);
      TTT_UNROLL for (int i = 0; i < 2; ++i) {
        query_[h][i] = *reinterpret_cast<const std::uint32_t*>(stage + Ring::kQ +
                                                               Tile::pair_offset(group() + 8 * i, column(h)));
      }
    }
  }

  // The gradient of a token that an earlier call read comes from the state; that of a token whose mini-batch
  // this call does not complete goes there.
  TTT_DEVICE void keep_or_take_open_row(int c, int row, int h, const unsigned char* stage, float (&g)[2]) {
    float* const kept = open_gradient(row) + column(h);
    if (range_.is_open_row(c, row)) {
      g[0] = kept[0];
      g[1] = kept[1];
    } else if (!range_.complete(c)) {
      if (range_.holds(range_.row_of(c, row))) {
        kept[0] = g[0];
        kept[1] = g[1];
        const std::uint32_t key =
            *reinterpret_cast<const std::uint32_t*>(stage + Ring::kKey + Tile::pair_offset(row, column(h)));
        float* const kept_key = open_key(row) + column(h);
        kept_key[0] = low_bf16(key);
        kept_key[1] = high_bf16(key);
      } else {
        g[0] = g[1] = 0.0F;  // beyond the end
      }
    }
  }

  // W -= tau_15 k^T g, b -= tau_15 sum g
  TTT_DEVICE void commit_rows(const unsigned char* stage, const std::uint32_t (&updates)[2][2]) {
    const std::uint32_t a[4] = {updates[0][0], updates[1][0], updates[0][1], updates[1][1]};
    TTT_UNROLL for (int s = 0; s < f / 16; ++s) {
      std::uint32_t keys[4];
      load_matrices_transposed(keys, stage + Ring::kKey + Tile::slice_offset(lane_, s));
      mma_bf16(w_[2 * s], a, keys[0], keys[1]);
      mma_bf16(w_[2 * s + 1], a, keys[2], keys[3]);
    }
    constexpr std::uint32_t kOnes = 0x3F803F80U;
    const std::uint32_t ones[4] = {kOnes, kOnes, kOnes, kOnes};
    TTT_UNROLL for (int h = 0; h < 2; ++h) mma_bf16(bias_[h], ones, updates[h][0], updates[h][1]);
  }

  // out = q + gamma N(zbar) + beta
  template <bool kSteady>
  TTT_DEVICE void write_out(int c, const float (&read)[2][4], const std::uint32_t (&query)[2][2],
                            const NormScale (&norm)[2]) {
    TTT_UNROLL for (int i = 0; i < 2; ++i) {
      const int row = range_.row_of(c, group() + 8 * i);
      if (!kSteady && !range_.holds(row)) continue;
      std::uint16_t* const out = p_.out + (range_.first_row + row) * p_.row_stride + head_ * f;
      TTT_UNROLL for (int h = 0; h < 2; ++h) {
        const float first = fmaf(read[h][2 * i], norm[i].scale, norm[i].shift);
        const float second = fmaf(read[h][2 * i + 1], norm[i].scale, norm[i].shift);
        *reinterpret_cast<std::uint32_t*>(out + column(h)) =
            pack_bf16(low_bf16(query[h][i]) + fmaf(gamma_[h][0], first, beta_[h][0]),
                      high_bf16(query[h][i]) + fmaf(gamma_[h][1], second, beta_[h][1]));
      }
    }
  }

  const TttPrefillParams& p_;
  unsigned char* const shared_;
  const int head_, lane_, warp_;
  PrefillRange range_;
  float w_[f / 8][4];  // W^T: tiles [16 out, 8 in]
  float bias_[2][4];   // b in every row
  float gamma_[2][2], beta_[2][2], gamma_squares_;
  float read_[2][4];           // zbar of the mini-batch before, until its norm is known
  std::uint32_t query_[2][2];  // and its q
};

template <int f, int kStages = 3>
__global__ void __launch_bounds__(LinearPrefill<f, kStages>::kThreads)
    ttt_linear_prefill(const TttPrefillParams p) {
  TTT_DYNAMIC_SHARED(shared);
  LinearPrefill<f, kStages>(p, shared).run();
}

}  // namespace ttt::cuda
