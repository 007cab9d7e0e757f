// SPDX-License-Identifier: Apache-2.0
// What the prefill kernels of both inner models share: the ring of a mini-batch's operands in shared memory,
// and the LayerNorm of the inner loss from sums.
#pragma once

#include "cuda/kernels/device.cuh"
#include "cuda/kernels/ttt_prefill.h"

namespace ttt::cuda {

inline constexpr int kPrefillK = 16;  // mini-batch size: one mma tile
inline constexpr float kInnerNormEpsilon = 1e-6F;

// Rows [16, f] of bf16 in shared memory, in chunks of 16 bytes. The chunks of a row are permuted so that the
// eight rows of one ldmatrix phase lie in eight different groups of four banks.
template <int f>
struct OperandTile {
  static constexpr int kBytes = kPrefillK * f * 2;
  static constexpr int kRowChunks = f / 8;

  static TTT_DEVICE int chunk_offset(int row, int chunk) {
    const int permuted = f % 64 == 0 ? chunk ^ (row & 7) : chunk ^ ((row >> 1) & 3);
    return row * (f * 2) + permuted * 16;
  }
  // Of the pair of columns `column`, an even number, and the next.
  static TTT_DEVICE int pair_offset(int row, int column) {
    return chunk_offset(row, column / 8) + column % 8 * 2;
  }
  // What a lane hands to load_matrices for columns [16 slice, 16 slice + 16): the registers are the A
  // fragment of the slice. As B they are two tiles of eight rows: (0, 2) and (1, 3); loaded transposed, two
  // tiles of eight columns: (0, 1) and (2, 3).
  static TTT_DEVICE int slice_offset(int lane, int slice) {
    return chunk_offset(lane & 15, 2 * slice + (lane >> 4));
  }
  // The same columns for load_matrices_transposed: the registers are the A fragment of the transposed slice.
  static TTT_DEVICE int transposed_offset(int lane, int slice) {
    return chunk_offset((lane & 7) + (lane >> 4) * 8, 2 * slice + (lane >> 3 & 1));
  }
};

// The tokens of one segment, by mini-batches; row r of mini-batch c is the segment's row 16 c + r - phase.
struct PrefillRange {
  int first_row, num_rows, phase;

  TTT_DEVICE int end() const { return phase + num_rows; }  // counted from the first mini-batch's first row
  TTT_DEVICE int mini_batches() const { return (end() + kPrefillK - 1) / kPrefillK; }
  TTT_DEVICE bool complete(int c) const { return (c + 1) * kPrefillK <= end(); }
  TTT_DEVICE int row_of(int c, int r) const { return c * kPrefillK + r - phase; }
  TTT_DEVICE bool holds(int row) const { return row >= 0 && row < num_rows; }
  TTT_DEVICE bool is_open_row(int c, int r) const { return c == 0 && r < phase; }  // read by an earlier call
};

TTT_DEVICE PrefillRange prefill_range(const SegmentEntry& segment) {
  return {static_cast<int>(segment.first_row), static_cast<int>(segment.num_rows),
          static_cast<int>(segment.phase)};
}

// One stage of the ring: q, k, target tiles, alpha [16].
template <int f, int kThreads, int kStages>
struct OperandRing {
  using Tile = OperandTile<f>;
  static constexpr int kQ = 0, kKey = Tile::kBytes, kTarget = 2 * Tile::kBytes, kAlpha = 3 * Tile::kBytes;
  static constexpr int kStageBytes = kAlpha + kPrefillK * 4;
  static constexpr int kBytes = kStages * kStageBytes;

  static TTT_DEVICE unsigned char* stage(unsigned char* ring, int c) {
    return ring + c % kStages * kStageBytes;
  }

  // Starts to load mini-batch c, where there is one. Keys of open rows, which only the first has, come from
  // the state, rounded as they were. A token whose operands are yet to be made has zeros.
  static TTT_DEVICE void load(unsigned char* ring, int c, const TttPrefillParams& rows,
                              const PrefillRange& range, int head, const float* open_keys,
                              int open_row_stride) {
    if (c < range.mini_batches()) {
      unsigned char* const to = stage(ring, c);
      const bool is_there = rows.token.taps == 0;
      for (int i = threadIdx.x; i < kPrefillK * Tile::kRowChunks; i += kThreads) {
        const int r = i / Tile::kRowChunks, chunk = i % Tile::kRowChunks, row = range.row_of(c, r);
        const bool valid = is_there && range.holds(row);
        const std::size_t from =
            static_cast<std::size_t>(range.first_row + (valid ? row : 0)) * rows.row_stride + head * f +
            chunk * 8;
        const int at = Tile::chunk_offset(r, chunk);
        copy_async_16(to + kQ + at, rows.q + from, valid);
        copy_async_16(to + kTarget + at, rows.target + from, valid);
        if (range.is_open_row(c, r)) {
          const auto* key = reinterpret_cast<const float4*>(open_keys + r * open_row_stride + chunk * 8);
          const float4 low = key[0], high = key[1];
          *reinterpret_cast<uint4*>(to + kKey + at) =
              uint4{pack_bf16(low.x, low.y), pack_bf16(low.z, low.w), pack_bf16(high.x, high.y),
                    pack_bf16(high.z, high.w)};
        } else {
          copy_async_16(to + kKey + at, rows.k + from, valid);
        }
      }
      if (threadIdx.x < kPrefillK) {
        const int row = range.row_of(c, threadIdx.x);
        const bool valid = is_there && range.holds(row);
        const std::size_t token = static_cast<std::size_t>(range.first_row + (valid ? row : 0));
        copy_async_4(to + kAlpha + threadIdx.x * 4, rows.alpha + token * rows.num_heads + head, valid);
      }
    }
    commit_copies();  // also an empty group, so that the number of groups is that of calls
  }
};

// LayerNorm and the gradient of the inner loss, 1/2 |gamma zhat + beta - target|^2, need of a row only these
// sums. u = gamma (beta - target).
struct RowSums {
  float z, zz, gz, gzz;  // z, z^2, gamma^2 z, gamma^2 z^2
  float u, uz, o, oo;    // u, u z; z and z^2 of the read-out
};

struct NormScale {  // zhat = z scale + shift
  float scale, shift;
};

struct LossNorm : NormScale {
  float mean_g, mean_gz;   // means of g and of g zhat for g = gamma (gamma zhat + beta - target)
  float loss_less_target;  // the loss without 1/2 |beta - target|^2
};

template <int f>
TTT_DEVICE NormScale norm_scale(float sum, float sum_of_squares) {
  const float mean = sum * (1.0F / f);
  const float variance = fmaf(-mean, mean, sum_of_squares * (1.0F / f));
  const float scale = rsqrt_approx(fmaxf(variance, 0.0F) + kInnerNormEpsilon);
  return {scale, -mean * scale};
}

template <int f>
TTT_DEVICE LossNorm loss_norm(const RowSums& sums, float gamma_squares) {
  LossNorm norm;
  static_cast<NormScale&>(norm) = norm_scale<f>(sums.z, sums.zz);
  const float mean = sums.z * (1.0F / f);
  // sums of gamma^2 zhat, gamma^2 zhat^2, u zhat
  const float g_zhat = norm.scale * fmaf(-mean, gamma_squares, sums.gz);
  const float centred = fmaf(mean, fmaf(mean, gamma_squares, -2.0F * sums.gz), sums.gzz);
  const float g_zhat_zhat = norm.scale * norm.scale * centred;
  const float u_zhat = norm.scale * fmaf(-mean, sums.u, sums.uz);
  norm.mean_g = (g_zhat + sums.u) * (1.0F / f);
  norm.mean_gz = (g_zhat_zhat + u_zhat) * (1.0F / f);
  norm.loss_less_target = fmaf(0.5F, g_zhat_zhat, u_zhat);
  return norm;
}

// alpha dLoss/dz = alpha scale (gamma^2 zhat + u - mean_g - mean_gz zhat)
TTT_DEVICE float scaled_gradient(float alpha_scale, float gamma, float z, float u, const LossNorm& norm) {
  const float zhat = fmaf(z, norm.scale, norm.shift);
  return alpha_scale * fmaf(fmaf(gamma, gamma, -norm.mean_gz), zhat, u - norm.mean_g);
}

// |beta - target|^2 / 2 of a row, whole, by one lane: only where losses are wanted.
template <int f>
TTT_DEVICE float half_target_distance(const unsigned char* target_tile, int row, const float* beta) {
  float sum = 0.0F;
  for (int column = 0; column < f; column += 2) {
    const std::uint32_t pair =
        *reinterpret_cast<const std::uint32_t*>(target_tile + OperandTile<f>::pair_offset(row, column));
    const float first = beta[column] - low_bf16(pair), second = beta[column + 1] - high_bf16(pair);
    sum = fmaf(second, second, fmaf(first, first, sum));
  }
  return 0.5F * sum;
}

}  // namespace ttt::cuda
