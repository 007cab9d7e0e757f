// SPDX-License-Identifier: Apache-2.0
// See ttt_mlp_streamed.h. A block of 8 warps works on one head of one segment; warp w has the hidden units
// [f/2 w, f/2 (w + 1)). The fast weights stay in the slot's state, that is in the L2 cache. Once in each
// mini-batch every warp passes over its hidden units in tiles of 16, and does with the weights of a tile, in
// registers, all that both mini-batches before and after the commit need:
//   with W of mini-batch c:  g1 = (g2 W2^T) GELU'(a),  abar = q W1 + b1 - tau_i sum_j (q_i . k_j + 1) g1_j,
//                            xbar = GELU(abar),  part of zbar = xbar W2 + b2 - tau_i sum_j (xbar_i . x_j + 1)
//                            g2_j
//   commit of both layers, W back to the state
//   with W of mini-batch c + 1:  a = k W1 + b1,  x = GELU(a),  part of z = x W2 + b2
// x and GELU'(a) wait for the next pass in shared memory. z and zbar are sums over tiles, which stay in
// registers, and over warps, for which one buffer serves first zbar and then z: shared memory of 99 KiB
// suffices, so that the kernel runs wherever the others do.
// Hidden units and outputs are numbered within a tile as ttt_mlp_weights.cuh says.
#pragma once

#include "cuda/kernels/ttt_mlp_head.cuh"
#include "cuda/kernels/ttt_mlp_streamed.h"
#include "cuda/kernels/ttt_mlp_weights.cuh"
#include "cuda/kernels/ttt_prefill_loop.cuh"
#include "cuda/kernels/ttt_prefill_tiles.cuh"

namespace ttt::cuda {

template <int f>
class MlpStreamed : MlpHead<f> {
  using Head = MlpHead<f>;

 public:
  using Head::kHeadSize, Head::kHidden, Head::kWarps, Head::kThreads;
  static constexpr int kWarpHidden = kHidden / kWarps, kTiles = kWarpHidden / 16;
  static constexpr int kChunks = f / 8;  // of the outputs
  using Tile = OperandTile<f>;
  // Two stages suffice: one is loaded while the sums over the warps are made.
  using Ring = OperandRing<f, kThreads, 2>;
  // Parts of z [16, f] in fp32: the upper half of the warps hands theirs to the lower half.
  static constexpr int kSlots = kWarps / 2, kSumBytes = kPrefillK * f * 4;
  static constexpr int kSums = Ring::kBytes;
  static constexpr int kGradients = kSums + kSlots * kSumBytes;  // tiles of g2 and of -tau_15 g2
  static constexpr int kKept = kGradients + 2 * Tile::kBytes;    // [warps][tiles][x, GELU'(a)][lanes]
  static constexpr int kBias1 = kKept + kWarps * kTiles * 2 * kWarp * 16;
  static constexpr int kBias2 = kBias1 + kHidden * 4;
  static constexpr int kTokenEta = kBias2 + f * 4;
  static constexpr int kSharedBytes = kTokenEta + kPrefillK * 4 + 4;
  static_assert(kSharedBytes <= 99 << 10, "compute capabilities 8.6, 8.9 and 12.0 have no more");

  TTT_DEVICE MlpStreamed(const TttPrefillParams& params, unsigned char* shared) : Head(params, shared) {}

  TTT_DEVICE void run() { read_segment(*this); }

 private:
  template <typename Kernel>
  friend TTT_DEVICE void read_segment(Kernel& kernel);

  using Head::group, Head::member, Head::open_row_stride;
  using Head::p_, Head::shared_, Head::head_, Head::lane_, Head::warp_, Head::range_;
  static constexpr int kPairs = f / 32;  // that a thread works on in the reduction
  // The weights of a tile are loaded in parts of 32 inputs or outputs, kAhead parts before their use, and
  // before the stores of those in between. W2 is loaded twice: to keep it, the registers do not suffice.
  static constexpr int kParts = f / 32, kAhead = 2;

  // A pair's columns and the rows of a thread in the reduction: a row is half a warp.
  TTT_DEVICE int sum_row() const { return threadIdx.x / 16; }
  TTT_DEVICE int sum_column(int pair) const { return 32 * pair + threadIdx.x % 16 * 2; }
  // First of the four hidden units of tile t that a lane has as columns (tiles n = 0, 1; e = 0, 1): unit 2 e
  // + n after it.
  TTT_DEVICE int hidden(int t) const { return kWarpHidden * warp_ + 16 * t + 4 * member(); }
  TTT_DEVICE float* token_eta() const { return reinterpret_cast<float*>(shared_ + kTokenEta); }
  TTT_DEVICE std::uint32_t& wants_losses() const {
    return *reinterpret_cast<std::uint32_t*>(token_eta() + kPrefillK);
  }
  TTT_DEVICE unsigned char* gradient_tile() const { return shared_ + kGradients; }
  TTT_DEVICE unsigned char* update_tile() const { return shared_ + kGradients + Tile::kBytes; }
  TTT_DEVICE uint4& kept_hidden(int t) const {
    return reinterpret_cast<uint4*>(shared_ + kKept)[(warp_ * kTiles + t) * 2 * kWarp + lane_];
  }
  TTT_DEVICE uint4& kept_slopes(int t) const { return *(&kept_hidden(t) + kWarp); }
  TTT_DEVICE float4& bias_1(int t) const {
    return *reinterpret_cast<float4*>(shared_ + kBias1 + hidden(t) * 4);
  }
  TTT_DEVICE float* bias_2() const { return reinterpret_cast<float*>(shared_ + kBias2); }
  // Of four columns, or of a pair. Neighbouring rows lie 4 banks apart: a warp's stores meet no conflict.
  TTT_DEVICE float* part(int slot, int row, int column) const {
    return reinterpret_cast<float*>(shared_ + kSums + slot * kSumBytes) + row * f + (column ^ row % 2 * 4);
  }
  TTT_DEVICE void load(int c) {
    Ring::load(shared_, c, p_, range_, head_, c == 0 ? Head::open_key(0) : nullptr, open_row_stride());
  }

  // Biases into shared memory, the fast weights into the L2 cache.
  TTT_DEVICE void read_weights() {
    constexpr int kLineFloats = 32;
    for (int i = threadIdx.x * kLineFloats; i < f * kHidden; i += kThreads * kLineFloats) {
      prefetch(Head::W1() + i);
      prefetch(Head::W2() + i);
    }
    auto* const first = reinterpret_cast<float*>(shared_ + kBias1);
    for (int i = threadIdx.x; i < kHidden; i += kThreads) first[i] = Head::b1()[i];
    if (threadIdx.x < f) bias_2()[threadIdx.x] = Head::b2()[threadIdx.x];
    gamma_squares_ = Head::squares_of_gamma();
  }

  TTT_DEVICE void write_weights() {
    const auto* const first = reinterpret_cast<const float*>(shared_ + kBias1);
    for (int i = threadIdx.x; i < kHidden; i += kThreads) Head::b1()[i] = first[i];
    if (threadIdx.x < f) Head::b2()[threadIdx.x] = bias_2()[threadIdx.x];
  }
  // Where a lane's weights of tile t begin.
  TTT_DEVICE float* first_weights(int t) const {
    return Head::W1() + kWarpHidden * warp_ + 16 * t + FirstWeights<f>::offset(lane_);
  }
  TTT_DEVICE float* second_weights(int t) const {
    return Head::W2() + (kWarpHidden * warp_ + 16 * t) * f + SecondWeights<f>::offset(lane_);
  }

  template <bool kSteady>
  TTT_DEVICE void step(int c) {
    const unsigned char* const stage = Ring::stage(shared_, c);
    const bool learns = kSteady || c < range_.mini_batches(), reads = kSteady || c > 0;
    if (!reads) project_first();
    float z[kPairs][2] = {}, read[kPairs][2] = {};
    if (reads) {
      sum_parts(read_, read);
      load(c + 1);
      sync_block();
      if (kSteady || range_.complete(c - 1)) commit_bias_2();
    }
    if (learns) sum_parts(z_, z);
    reduce<kSteady>(c, stage, z, read);
    wait_copies<0>();
    sync_block();
    if (learns) pass<kSteady>(c, stage);
  }

  // b2 and the sum over all warps: (w + (w + 4)) of the four slots, in order.
  TTT_DEVICE void sum_parts(const float (&mine)[kChunks][4], float (&sum)[kPairs][2]) {
    const int slot = warp_ % kSlots;
    if (warp_ >= kSlots) {
      for_each_four([&](int m, int i, int e, int row, int column) {
        *reinterpret_cast<float4*>(part(slot, row, column)) = four_of(mine, m, i, e);
      });
    }
    sync_block();
    if (warp_ < kSlots) {
      for_each_four([&](int m, int i, int e, int row, int column) {
        auto* const place = reinterpret_cast<float4*>(part(slot, row, column));
        const float4 theirs = *place, ours = four_of(mine, m, i, e);
        *place = float4{ours.x + theirs.x, ours.y + theirs.y, ours.z + theirs.z, ours.w + theirs.w};
      });
    }
    sync_block();
    TTT_UNROLL for (int j = 0; j < kPairs; ++j) {
      sum[j][0] = bias_2()[sum_column(j)];
      sum[j][1] = bias_2()[sum_column(j) + 1];
      TTT_UNROLL for (int from = 0; from < kSlots; ++from) {
        const float2 pair = *reinterpret_cast<const float2*>(part(from, sum_row(), sum_column(j)));
        sum[j][0] += pair.x;
        sum[j][1] += pair.y;
      }
    }
  }
  // Calls fn for what a lane has of a part: the outputs `column` to column + 3 are the elements 2 i + e of
  // the chunks 4 m to 4 m + 3.
  template <typename Fn>
  TTT_DEVICE void for_each_four(Fn&& fn) const {
    TTT_UNROLL for (int m = 0; m < kChunks / 4; ++m) {
      TTT_UNROLL for (int i = 0; i < 2; ++i) {
        TTT_UNROLL for (int e = 0; e < 2; ++e) fn(m, i, e, group() + 8 * i, 32 * m + 8 * member() + 4 * e);
      }
    }
  }
  static TTT_DEVICE float4 four_of(const float (&z)[kChunks][4], int m, int i, int e) {
    return float4{z[4 * m][2 * i + e], z[4 * m + 1][2 * i + e], z[4 * m + 2][2 * i + e],
                  z[4 * m + 3][2 * i + e]};
  }

  // g2 of mini-batch c, the output of c - 1.
  template <bool kSteady>
  TTT_DEVICE void reduce(int c, const unsigned char* stage, const float (&z)[kPairs][2],
                         const float (&read)[kPairs][2]) {
    const bool learns = kSteady || c < range_.mini_batches(), reads = kSteady || c > 0;
    float gamma[kPairs][2], beta[kPairs][2], u[kPairs][2] = {};
    RowSums sums = {};
    TTT_UNROLL for (int j = 0; j < kPairs; ++j) {
      TTT_UNROLL for (int e = 0; e < 2; ++e) {
        gamma[j][e] = p_.norm_weight[head_ * f + sum_column(j) + e];
        beta[j][e] = p_.norm_bias[head_ * f + sum_column(j) + e];
      }
      if (learns) {
        const std::uint32_t targets = *reinterpret_cast<const std::uint32_t*>(
            stage + Ring::kTarget + Tile::pair_offset(sum_row(), sum_column(j)));
        u[j][0] = gamma[j][0] * (beta[j][0] - low_bf16(targets));
        u[j][1] = gamma[j][1] * (beta[j][1] - high_bf16(targets));
      }
      TTT_UNROLL for (int e = 0; e < 2; ++e) {
        Head::add_element(gamma[j][e], z[j][e], u[j][e], read[j][e], sums);
      }
    }
    Head::add_lanes(sums);
    if (learns) take_gradient<kSteady>(c, stage, gamma, z, u, loss_norm<f>(sums, gamma_squares_));
    if (reads) write_out<kSteady>(c - 1, gamma, beta, read, norm_scale<f>(sums.o, sums.oo));
  }
  template <bool kSteady>
  TTT_DEVICE void take_gradient(int c, const unsigned char* stage, const float (&gamma)[kPairs][2],
                                const float (&z)[kPairs][2], const float (&u)[kPairs][2],
                                const LossNorm& norm) {
    const int row = sum_row(), token = range_.row_of(c, row);
    const float alpha_scale = reinterpret_cast<const float*>(stage + Ring::kAlpha)[row] * norm.scale;
    const float commit = -token_eta()[kPrefillK - 1];
    TTT_UNROLL for (int j = 0; j < kPairs; ++j) {
      float g[2];
      TTT_UNROLL for (int e = 0; e < 2; ++e) {
        g[e] = scaled_gradient(alpha_scale, gamma[j][e], z[j][e], u[j][e], norm);
      }
      if (!kSteady) keep_or_take_open_row(c, row, sum_column(j), stage, g);
      store_gradients(gradient_tile(), row, sum_column(j), g[0], g[1]);
      store_gradients(update_tile(), row, sum_column(j), commit * g[0], commit * g[1]);
    }
    if (threadIdx.x % 16 == 0 && wants_losses() != 0 && range_.holds(token)) {
      p_.losses[(range_.first_row + token) * p_.losses_row_stride + head_] =
          norm.loss_less_target +
          half_target_distance<f>(stage + Ring::kTarget, row, p_.norm_bias + head_ * f);
    }
  }
  // The gradient of a token that an earlier call read comes from the state; that of a token whose mini-batch
  // this call does not complete goes there, with its key.
  TTT_DEVICE void keep_or_take_open_row(int c, int row, int column, const unsigned char* stage,
                                        float (&g)[2]) const {
    auto* const kept = reinterpret_cast<float2*>(Head::open_gradient_2(row) + column);
    if (range_.is_open_row(c, row)) {
      const float2 pair = *kept;
      g[0] = pair.x;
      g[1] = pair.y;
    } else if (!range_.holds(range_.row_of(c, row))) {
      g[0] = g[1] = 0.0F;  // beyond the end
    } else if (!range_.complete(c)) {
      const std::uint32_t key =
          *reinterpret_cast<const std::uint32_t*>(stage + Ring::kKey + Tile::pair_offset(row, column));
      *kept = float2{g[0], g[1]};
      *reinterpret_cast<float2*>(Head::open_key(row) + column) = float2{low_bf16(key), high_bf16(key)};
    }
  }
  // Of output `column` in the tiles of gradients.
  static TTT_DEVICE std::uint16_t& gradient(unsigned char* tile, int row, int column) {
    const int chunk = column / 32 * 4 + column % 4, place = column % 32 / 4;
    return reinterpret_cast<std::uint16_t*>(tile + Tile::chunk_offset(row, chunk))[place];
  }
  static TTT_DEVICE void store_gradients(unsigned char* tile, int row, int column, float first,
                                         float second) {
    const std::uint32_t pair = pack_bf16(first, second);
    gradient(tile, row, column) = static_cast<std::uint16_t>(pair & 0xFFFFU);
    gradient(tile, row, column + 1) = static_cast<std::uint16_t>(pair >> 16);
  }
  // b2 -= tau_15 sum g2, by one thread for each output.
  TTT_DEVICE void commit_bias_2() const {
    if (threadIdx.x >= f) return;
    float bias = bias_2()[threadIdx.x];
    TTT_UNROLL for (int row = 0; row < kPrefillK; ++row) {
      bias += load_bf16(gradient(update_tile(), row, threadIdx.x));
    }
    bias_2()[threadIdx.x] = bias;
  }

  // out = q + gamma N(zbar) + beta
  template <bool kSteady>
  TTT_DEVICE void write_out(int c, const float (&gamma)[kPairs][2], const float (&beta)[kPairs][2],
                            const float (&read)[kPairs][2], const NormScale& norm) {
    const int row = range_.row_of(c, sum_row());
    if (!kSteady && !range_.holds(row)) return;
    const std::size_t first = (range_.first_row + row) * p_.row_stride + head_ * f;
    TTT_UNROLL for (int j = 0; j < kPairs; ++j) {
      const std::uint32_t query = *reinterpret_cast<const std::uint32_t*>(p_.q + first + sum_column(j));
      float out[2] = {low_bf16(query), high_bf16(query)};
      TTT_UNROLL for (int e = 0; e < 2; ++e) {
        out[e] += fmaf(gamma[j][e], fmaf(read[j][e], norm.scale, norm.shift), beta[j][e]);
      }
      *reinterpret_cast<std::uint32_t*>(p_.out + first + sum_column(j)) = pack_bf16(out[0], out[1]);
    }
  }

  // a = k W1 + b1, x = GELU(a), parts of z = x W2 + b2 for the first mini-batch, of which the hidden
  // activations of open rows come from the state.
  TTT_DEVICE void project_first() {
    start_from_zero(z_);
    TTT_NO_UNROLL for (int t = 0; t < kTiles; ++t) {
      const float *const first = first_weights(t), *const second = second_weights(t);
      float bias[2][2], a[2][4];
      read_bias_1(t, bias);
      start_from(bias, a);
      TTT_UNROLL for (int m = 0; m < kParts; ++m) {
        FirstWeights<f> w;
        w.load(first, m);
        w.project(Ring::stage(shared_, 0) + Ring::kKey, lane_, m, a);
      }
      std::uint32_t x[4];
      activate<true>(t, a, x);
      TTT_UNROLL for (int m = 0; m < kParts; ++m) {
        SecondWeights<f> w;
        w.load(second, m);
        w.project(x, m, z_);
      }
    }
  }

  template <bool kSteady>
  TTT_DEVICE void pass(int c, const unsigned char* stage) {
    // Of a steady step all of it is done: after the last mini-batch with the keys that the stage still has,
    // for nothing.
    const bool commits = kSteady || range_.complete(c), projects = kSteady || c + 1 < range_.mini_batches();
    start_from_zero(read_);
    start_from_zero(z_);
    std::uint32_t coefficients[4];
    key_scores(stage, coefficients);
    float scores[2][4] = {};  // xbar . x over this warp's hidden units
    TTT_NO_UNROLL for (int t = 0; t < kTiles; ++t) {
      pass_tile<kSteady>(c, t, commits, projects, coefficients, scores);
    }
    read_open_rows(scores);
  }

  template <bool kSteady>
  TTT_DEVICE void pass_tile(int c, int t, bool commits, bool projects, const std::uint32_t (&coefficients)[4],
                            float (&scores)[2][4]) {
    const uint4 kept = kept_hidden(t);
    const std::uint32_t x[4] = {kept.x, kept.y, kept.z, kept.w};
    float a[2][4], next_a[2][4];
    pass_first_layer<kSteady>(c, t, commits, projects, x, coefficients, a, next_a);
    float* const at = second_weights(t);
    SecondWeights<f> second[kAhead + 1];
    TTT_UNROLL for (int m = 0; m < kAhead; ++m) second[m].load(at, m);
    std::uint32_t xbar[4], next_x[4], x_by_token[4];
    gelu_operands(a, xbar);
    if (projects) activate<false>(t, next_a, next_x);
    mma_bf16(scores[0], xbar, x[0], x[2]);
    mma_bf16(scores[1], xbar, x[1], x[3]);
    TTT_UNROLL for (int r = 0; r < 4; ++r) x_by_token[r] = transpose_8x8(x[r]);
    TTT_UNROLL for (int m = 0; m < kParts; ++m) {
      const int later = m + kAhead;
      if (later < kParts) second[later % (kAhead + 1)].load(at, later);
      SecondWeights<f>& w = second[m % (kAhead + 1)];
      w.project(xbar, m, read_);
      if (commits) {
        w.commit(update_tile(), lane_, m, x_by_token);
        w.store(at, m);
      }
      if (projects) w.project(next_x, m, z_);
    }
  }

  // abar and the commit with W1 of mini-batch c, a of the next one.
  template <bool kSteady>
  TTT_DEVICE void pass_first_layer(int c, int t, bool commits, bool projects, const std::uint32_t (&x)[4],
                                   const std::uint32_t (&coefficients)[4], float (&a)[2][4],
                                   float (&next_a)[2][4]) {
    const unsigned char *const stage = Ring::stage(shared_, c), *const next = Ring::stage(shared_, c + 1);
    float* const at = first_weights(t);
    FirstWeights<f> first[kAhead + 1];
    TTT_UNROLL for (int m = 0; m < kAhead; ++m) first[m].load(at, m);
    float bias[2][2], g1[2][4];
    read_bias_1(t, bias);
    start_from(bias, a);
    hidden_gradient<kSteady>(c, t, x, g1);
    add_open_rows(coefficients, g1, a);
    std::uint32_t updates[4];  // -tau_15 g1, [hidden, token]
    update_operands(g1, updates);
    if (commits) commit_bias_1(t, updates, bias);
    start_from(bias, next_a);
    TTT_UNROLL for (int m = 0; m < kParts; ++m) {
      const int later = m + kAhead;
      if (later < kParts) first[later % (kAhead + 1)].load(at, later);
      FirstWeights<f>& w = first[m % (kAhead + 1)];
      w.project(stage + Ring::kQ, lane_, m, a);
      if (commits) {
        w.commit(stage + Ring::kKey, lane_, m, updates);
        w.store(at, m);
      }
      if (projects) w.project(next + Ring::kKey, lane_, m, next_a);
    }
  }

  // [n][e]: of the hidden units of a lane.
  TTT_DEVICE void read_bias_1(int t, float (&bias)[2][2]) const {
    const float4 four = bias_1(t);
    bias[0][0] = four.x;
    bias[1][0] = four.y;
    bias[0][1] = four.z;
    bias[1][1] = four.w;
  }
  static TTT_DEVICE void start_from_zero(float (&z)[kChunks][4]) {
    TTT_UNROLL for (int chunk = 0; chunk < kChunks; ++chunk) {
      TTT_UNROLL for (int e = 0; e < 4; ++e) z[chunk][e] = 0.0F;
    }
  }

  // b1 in every row.
  static TTT_DEVICE void start_from(const float (&bias)[2][2], float (&a)[2][4]) {
    TTT_UNROLL for (int n = 0; n < 2; ++n) {
      a[n][0] = a[n][2] = bias[n][0];
      a[n][1] = a[n][3] = bias[n][1];
    }
  }
  // x = GELU(a) as the A fragment of a slice of 16 hidden units.
  static TTT_DEVICE void gelu_operands(const float (&a)[2][4], std::uint32_t (&x)[4]) {
    TTT_UNROLL for (int r = 0; r < 4; ++r) {
      float value[2], slope;
      TTT_UNROLL for (int e = 0; e < 2; ++e) gelu_both(a[r / 2][r % 2 * 2 + e], value[e], slope);
      x[r] = pack_bf16(value[0], value[1]);
    }
  }
  // The same, kept with GELU'(a) for the next pass. kFirst: of the first mini-batch.
  template <bool kFirst>
  TTT_DEVICE void activate(int t, const float (&a)[2][4], std::uint32_t (&x)[4]) {
    std::uint32_t slopes[4];
    TTT_UNROLL for (int r = 0; r < 4; ++r) {
      float value[2], slope[2];
      TTT_UNROLL for (int e = 0; e < 2; ++e) gelu_both(a[r / 2][r % 2 * 2 + e], value[e], slope[e]);
      const int row = group() + r % 2 * 8;
      if (kFirst && range_.is_open_row(0, row)) {
        const float* const kept = Head::open_hidden(row) + hidden(t) + r / 2;
        value[0] = kept[0];
        value[1] = kept[2];
      }
      x[r] = pack_bf16(value[0], value[1]);
      slopes[r] = pack_bf16(slope[0], slope[1]);
    }
    kept_hidden(t) = uint4{x[0], x[1], x[2], x[3]};
    kept_slopes(t) = uint4{slopes[0], slopes[1], slopes[2], slopes[3]};
  }

  // g1 = (g2 W2^T) GELU'(a)
  template <bool kSteady>
  TTT_DEVICE void hidden_gradient(int c, int t, const std::uint32_t (&x)[4], float (&g1)[2][4]) {
    TTT_UNROLL for (int n = 0; n < 2; ++n) { TTT_UNROLL for (int e = 0; e < 4; ++e) g1[n][e] = 0.0F; }
    const float* const at = second_weights(t);
    TTT_UNROLL for (int m = 0; m < kParts; ++m) {
      SecondWeights<f> w;
      w.load(at, m);
      w.project_back(gradient_tile(), lane_, m, g1);
    }
    const uint4 kept = kept_slopes(t);
    const std::uint32_t slopes[4] = {kept.x, kept.y, kept.z, kept.w};
    TTT_UNROLL for (int n = 0; n < 2; ++n) {
      TTT_UNROLL for (int i = 0; i < 2; ++i) {
        g1[n][2 * i] *= low_bf16(slopes[2 * n + i]);
        g1[n][2 * i + 1] *= high_bf16(slopes[2 * n + i]);
        if (!kSteady) keep_or_take_hidden(c, group() + 8 * i, hidden(t) + n, x[2 * n + i], g1[n] + 2 * i);
      }
    }
  }
  // As keep_or_take_open_row, of two hidden units, `column` and the next but one.
  TTT_DEVICE void keep_or_take_hidden(int c, int row, int column, std::uint32_t x, float* g) const {
    float* const kept = Head::open_gradient_1(row) + column;
    if (range_.is_open_row(c, row)) {
      g[0] = kept[0];
      g[1] = kept[2];
    } else if (!range_.complete(c) && range_.holds(range_.row_of(c, row))) {
      kept[0] = g[0];
      kept[2] = g[1];
      float* const kept_hidden_row = Head::open_hidden(row) + column;
      kept_hidden_row[0] = low_bf16(x);
      kept_hidden_row[2] = high_bf16(x);
    }
  }

  // -tau_i (q_i . k_j + 1) for j <= i
  TTT_DEVICE void key_scores(const unsigned char* stage, std::uint32_t (&coefficients)[4]) const {
    float scores[2][4] = {};
    TTT_UNROLL for (int s = 0; s < f / 16; ++s) {
      std::uint32_t queries[4], keys[4];
      load_matrices(queries, stage + Ring::kQ + Tile::slice_offset(lane_, s));
      load_matrices(keys, stage + Ring::kKey + Tile::slice_offset(lane_, s));
      mma_bf16(scores[0], queries, keys[0], keys[2]);
      mma_bf16(scores[1], queries, keys[1], keys[3]);
    }
    TTT_UNROLL for (int n = 0; n < 2; ++n) {
      TTT_UNROLL for (int e = 0; e < 4; ++e) {
        scores[n][e] = Head::causal_eta(token_eta(), n, e) * (scores[n][e] + 1.0F);
      }
    }
    Head::pack_scores(scores, coefficients);
  }

  // a -= tau_i sum_j (q_i . k_j + 1) g1_j
  static TTT_DEVICE void add_open_rows(const std::uint32_t (&coefficients)[4], const float (&g1)[2][4],
                                       float (&a)[2][4]) {
    TTT_UNROLL for (int n = 0; n < 2; ++n) {
      mma_bf16(a[n], coefficients, transpose_8x8(pack_bf16(g1[n][0], g1[n][1])),
               transpose_8x8(pack_bf16(g1[n][2], g1[n][3])));
    }
  }
  // -tau_15 g1 as the A fragment [hidden, token].
  TTT_DEVICE void update_operands(const float (&g1)[2][4], std::uint32_t (&updates)[4]) const {
    const float commit = -token_eta()[kPrefillK - 1];
    TTT_UNROLL for (int r = 0; r < 4; ++r) {
      const float* const pair = g1[r % 2] + r / 2 * 2;
      updates[r] = transpose_8x8(pack_bf16(commit * pair[0], commit * pair[1]));
    }
  }
  // b1 -= tau_15 sum g1
  TTT_DEVICE void commit_bias_1(int t, const std::uint32_t (&updates)[4], float (&bias)[2][2]) const {
    // Copies, without which the compiler copies the fragment for every other use.
    TTT_UNROLL for (int n = 0; n < 2; ++n) Head::add_rows(kept(updates[n]), kept(updates[2 + n]), bias[n]);
    sync_warp();  // all have read it
    if (group() == 0) bias_1(t) = float4{bias[0][0], bias[1][0], bias[0][1], bias[1][1]};
  }
  // zbar -= tau_i sum_j (xbar_i . x_j + 1) g2_j, of which one warp adds the "+ 1" of a chunk.
  TTT_DEVICE void read_open_rows(float (&scores)[2][4]) {
    float scores_and_one[2][4];
    TTT_UNROLL for (int n = 0; n < 2; ++n) {
      TTT_UNROLL for (int e = 0; e < 4; ++e) {
        const float eta = Head::causal_eta(token_eta(), n, e);
        scores[n][e] *= eta;
        scores_and_one[n][e] = scores[n][e] + eta;
      }
    }
    std::uint32_t coefficients[4], coefficients_and_one[4];
    Head::pack_scores(scores, coefficients);
    Head::pack_scores(scores_and_one, coefficients_and_one);
    TTT_UNROLL for (int chunk = 0; chunk < kChunks; chunk += 2) {
      std::uint32_t gradients[4];
      load_matrices_transposed(gradients, gradient_tile() + Tile::slice_offset(lane_, chunk / 2));
      TTT_UNROLL for (int h = 0; h < 2; ++h) {
        const bool adds_one = (chunk + h) % kWarps == warp_;
        std::uint32_t mine[4];
        TTT_UNROLL for (int r = 0; r < 4; ++r) mine[r] = adds_one ? coefficients_and_one[r] : coefficients[r];
        mma_bf16(read_[chunk + h], mine, gradients[2 * h], gradients[2 * h + 1]);
      }
    }
  }

  float z_[kChunks][4];     // this warp's part of z of the mini-batch that comes next,
  float read_[kChunks][4];  // and of zbar of the one before it
  float gamma_squares_;
};

template <int f>
__global__ void __launch_bounds__(MlpStreamed<f>::kThreads, 1) ttt_mlp_streamed(const TttPrefillParams p) {
  TTT_DYNAMIC_SHARED(shared);
  MlpStreamed<f>(p, shared).run();
}

}  // namespace ttt::cuda
