// SPDX-License-Identifier: Apache-2.0
// A lane's weights of a tile of 16 hidden units, for 32 inputs (W1) or outputs (W2), in registers: between
// memory and products. Which hidden unit or output an index of an mma tile stands for is free as long as all
// operands agree. It is chosen so that a lane's weights are neighbours in memory:
//   column p of the tile n (0, 1) of 8 hidden units: hidden unit 2 p + n of the tile of 16
//   column p of the chunk 4 m + r (r = 0..3) of 8 outputs: output 32 m + 4 p + r
// The weights stay in registers as they lie in memory. In the accumulators of an mma their order would be
// another, for which each would be moved twice: so a commit adds what an mma has summed up.
#pragma once

#include "cuda/kernels/ttt_prefill_tiles.cuh"

namespace ttt::cuda {

// Of W1 [in, 4 f]: input 32 m + 8 j + 2 member + e, hidden unit 2 group + n of the tile.
template <int f>
struct FirstWeights {
  using Tile = OperandTile<f>;
  static constexpr int kHidden = 4 * f;

  // The lane's place in the row of input 0.
  static TTT_DEVICE int offset(int lane) { return lane % 4 * 2 * kHidden + lane / 4 * 2; }

  TTT_DEVICE void load(const float* from, int m) {
    TTT_UNROLL for (int j = 0; j < 4; ++j) {
      TTT_UNROLL for (int e = 0; e < 2; ++e) {
        const float2 pair = load_global_8(from + (32 * m + 8 * j + e) * kHidden);
        at[j][e][0] = pair.x;
        at[j][e][1] = pair.y;
      }
    }
  }
  TTT_DEVICE void store(float* to, int m) const {
    TTT_UNROLL for (int j = 0; j < 4; ++j) {
      TTT_UNROLL for (int e = 0; e < 2; ++e) {
        store_global_8(to + (32 * m + 8 * j + e) * kHidden, float2{at[j][e][0], at[j][e][1]});
      }
    }
  }
  // a += rows W1: a[n] is of 8 hidden units.
  TTT_DEVICE void project(const unsigned char* rows, int lane, int m, float (&a)[2][4]) const {
    TTT_UNROLL for (int half = 0; half < 2; ++half) {
      std::uint32_t operand[4];
      load_matrices(operand, rows + Tile::slice_offset(lane, 2 * m + half));
      TTT_UNROLL for (int n = 0; n < 2; ++n) {
        mma_bf16(a[n], operand, pack_bf16(at[2 * half][0][n], at[2 * half][1][n]),
                 pack_bf16(at[2 * half + 1][0][n], at[2 * half + 1][1][n]));
      }
    }
  }
  // W1 += keys^T updates; these as the A fragment [hidden, token].
  TTT_DEVICE void commit(const unsigned char* keys, int lane, int m, const std::uint32_t (&updates)[4]) {
    TTT_UNROLL for (int half = 0; half < 2; ++half) {
      std::uint32_t operand[4];
      load_matrices_transposed(operand, keys + Tile::slice_offset(lane, 2 * m + half));
      TTT_UNROLL for (int h = 0; h < 2; ++h) {
        float sum[4] = {0.0F, 0.0F, 0.0F, 0.0F};  // [hidden, in]
        mma_bf16(sum, updates, operand[2 * h], operand[2 * h + 1]);
        TTT_UNROLL for (int n = 0; n < 2; ++n) {
          TTT_UNROLL for (int e = 0; e < 2; ++e) at[2 * half + h][e][n] += sum[2 * n + e];
        }
      }
    }
  }

  float at[4][2][2];  // [j][e][n]
};

// Of W2 [4 f, out]: hidden unit 4 member + 2 e + n of the tile, output 32 m + 4 group + r.
template <int f>
struct SecondWeights {
  using Tile = OperandTile<f>;

  // The lane's place from the row of the tile's first hidden unit on.
  static TTT_DEVICE int offset(int lane) { return lane % 4 * 4 * f + lane / 4 * 4; }

  TTT_DEVICE void load(const float* from, int m) {
    TTT_UNROLL for (int h = 0; h < 4; ++h) {
      float(&to)[4] = at[h / 2][h % 2];
      const float4 four = load_global_16(from + h * f + 32 * m);
      to[0] = four.x;
      to[1] = four.y;
      to[2] = four.z;
      to[3] = four.w;
    }
  }
  TTT_DEVICE void store(float* to, int m) const {
    TTT_UNROLL for (int h = 0; h < 4; ++h) {
      const float(&four)[4] = at[h / 2][h % 2];
      store_global_16(to + h * f + 32 * m, float4{four[0], four[1], four[2], four[3]});
    }
  }
  // z += x W2, by chunks.
  TTT_DEVICE void project(const std::uint32_t (&x)[4], int m, float (&z)[f / 8][4]) const {
    TTT_UNROLL for (int r = 0; r < 4; ++r) {
      mma_bf16(z[4 * m + r], x, pack_bf16(at[0][0][r], at[1][0][r]), pack_bf16(at[0][1][r], at[1][1][r]));
    }
  }
  // g1 += gradients W2^T; these as a tile of chunks.
  TTT_DEVICE void project_back(const unsigned char* gradients, int lane, int m, float (&g1)[2][4]) const {
    TTT_UNROLL for (int half = 0; half < 2; ++half) {
      std::uint32_t operand[4];
      load_matrices(operand, gradients + Tile::slice_offset(lane, 2 * m + half));
      TTT_UNROLL for (int n = 0; n < 2; ++n) {
        const int r = 2 * half;
        mma_bf16(g1[n], operand, transpose_8x8(pack_bf16(at[0][n][r], at[1][n][r])),
                 transpose_8x8(pack_bf16(at[0][n][r + 1], at[1][n][r + 1])));
      }
    }
  }
  // W2 += x^T updates; these as a tile of chunks, x as B fragments [token, hidden].
  TTT_DEVICE void commit(const unsigned char* updates, int lane, int m,
                         const std::uint32_t (&x_by_token)[4]) {
    TTT_UNROLL for (int half = 0; half < 2; ++half) {
      std::uint32_t operand[4];
      load_matrices_transposed(operand, updates + Tile::transposed_offset(lane, 2 * m + half));
      TTT_UNROLL for (int n = 0; n < 2; ++n) {
        float sum[4] = {0.0F, 0.0F, 0.0F, 0.0F};  // [out, hidden]
        mma_bf16(sum, operand, x_by_token[2 * n], x_by_token[2 * n + 1]);
        TTT_UNROLL for (int i = 0; i < 2; ++i) {
          TTT_UNROLL for (int e = 0; e < 2; ++e) at[e][n][2 * half + i] += sum[2 * i + e];
        }
      }
    }
  }

  float at[2][2][4];  // [e][n][r]
};

}  // namespace ttt::cuda
