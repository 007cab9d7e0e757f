// SPDX-License-Identifier: Apache-2.0
// See product_mma.h. A block of 8 warps computes kRowTile x 128 elements, with x and W in a ring of three
// stages of 32 columns each.
#pragma once

#include "cuda/kernels/device.cuh"
#include "cuda/kernels/product_mma.h"

namespace ttt::cuda {

template <bool kFp16, int kRowTile>
class ProductMma {
 public:
  static constexpr int kColumnTile = 128, kDepth = 32, kStages = 3, kWarps = 8, kThreads = kWarps * kWarp;
  // A stage: kRowTile rows of x, then kColumnTile rows of W, 64 bytes each.
  static constexpr int kRowBytes = kDepth * 2, kRowChunks = kRowBytes / 16;
  static constexpr int kStageRows = kRowTile + kColumnTile, kStageBytes = kStageRows * kRowBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  // Warps lie in a grid over the tile; a warp has kRowFragments x kColumnFragments fragments of 16 x 8.
  static constexpr int kRowWarps = kRowTile == 16 ? 1 : 2, kColumnWarps = kWarps / kRowWarps;
  static constexpr int kRowFragments = kRowTile / 16 / kRowWarps;
  static constexpr int kColumnFragments = kColumnTile / 8 / kColumnWarps;

  TTT_DEVICE ProductMma(const ProductMmaParams& params, unsigned char* shared)
      : p_(params),
        shared_(shared),
        lane_(threadIdx.x % kWarp),
        first_row_(blockIdx.y * kRowTile),
        first_column_(blockIdx.x * kColumnTile),
        warp_row_(threadIdx.x / kWarp / kColumnWarps * kRowFragments * 16),
        warp_column_(threadIdx.x / kWarp % kColumnWarps * kColumnFragments * 8) {}

  TTT_DEVICE void run() {
    TTT_UNROLL for (int m = 0; m < kRowFragments; ++m) {
      TTT_UNROLL for (int n = 0; n < kColumnFragments; ++n) {
        TTT_UNROLL for (int e = 0; e < 4; ++e) sums_[m][n][e] = 0.0F;
      }
    }
    const int steps = (p_.k + kDepth - 1) / kDepth;
    load(0, steps);
    load(1, steps);
    // A warp beyond the edge of out only loads.
    const bool multiplies = first_row_ + warp_row_ < p_.rows && first_column_ + warp_column_ < p_.n;
    TTT_NO_UNROLL for (int step = 0; step < steps; ++step) {
      wait_copies<1>();
      sync_block();  // the stage is there, and that of the step before is no longer read
      load(step + 2, steps);
      if (multiplies) multiply(shared_ + step % kStages * kStageBytes);
    }
    store();
  }

 private:
  // Chunks are permuted so that the eight rows of one ldmatrix phase lie in different banks.
  static TTT_DEVICE int chunk_offset(int row, int chunk) {
    return row * kRowBytes + (chunk ^ (row / 2 % 4)) * 16;
  }

  TTT_DEVICE void load(int step, int steps) {
    if (step < steps) {
      unsigned char* const stage = shared_ + step % kStages * kStageBytes;
      for (int i = threadIdx.x; i < kStageRows * kRowChunks; i += kThreads) {
        const int stage_row = i / kRowChunks, chunk = i % kRowChunks, column = step * kDepth + chunk * 8;
        const bool of_x = stage_row < kRowTile;
        const int row = of_x ? first_row_ + stage_row : first_column_ + stage_row - kRowTile;
        const bool valid = column < p_.k && row < (of_x ? p_.rows : p_.n);
        const std::uint16_t* const from =
            (of_x ? p_.x : p_.W) +
            (valid ? row * (of_x ? p_.x_stride : static_cast<std::size_t>(p_.k)) + column : 0);
        copy_async_16(stage + chunk_offset(stage_row, chunk), from, valid);
      }
    }
    commit_copies();
  }

  TTT_DEVICE void multiply(const unsigned char* stage) {
    TTT_UNROLL for (int slice = 0; slice < kDepth / 16; ++slice) {
      const int chunk = 2 * slice + lane_ / 16;
      std::uint32_t x[kRowFragments][4], W[kColumnFragments / 2][4];
      TTT_UNROLL for (int m = 0; m < kRowFragments; ++m) {
        load_matrices(x[m], stage + chunk_offset(warp_row_ + 16 * m + lane_ % 16, chunk));
      }
      TTT_UNROLL for (int n = 0; n < kColumnFragments / 2; ++n) {
        load_matrices(W[n], stage + chunk_offset(kRowTile + warp_column_ + 16 * n + lane_ % 16, chunk));
      }
      TTT_UNROLL for (int m = 0; m < kRowFragments; ++m) {
        TTT_UNROLL for (int n = 0; n < kColumnFragments; ++n) {
          const std::uint32_t b0 = W[n / 2][n % 2], b1 = W[n / 2][n % 2 + 2];
          if (kFp16) {
            mma_half(sums_[m][n], x[m], b0, b1);
          } else {
            mma_bf16(sums_[m][n], x[m], b0, b1);
          }
        }
      }
    }
  }

  TTT_DEVICE void store() {
    TTT_UNROLL for (int m = 0; m < kRowFragments; ++m) {
      TTT_UNROLL for (int n = 0; n < kColumnFragments; ++n) {
        TTT_UNROLL for (int e = 0; e < 4; ++e) {
          const int row = first_row_ + warp_row_ + 16 * m + lane_ / 4 + 8 * (e / 2);
          const int column = first_column_ + warp_column_ + 8 * n + lane_ % 4 * 2 + e % 2;
          if (row < p_.rows && column < p_.n) store_one(row * p_.out_stride + column, sums_[m][n][e]);
        }
      }
    }
  }

  TTT_DEVICE void store_one(std::size_t at, float sum) {
    if (p_.output == ProductOutput::kHalf) {
      const std::uint32_t pair = kFp16 ? pack_half(sum, 0.0F) : pack_bf16(sum, 0.0F);
      static_cast<std::uint16_t*>(p_.out)[at] = static_cast<std::uint16_t>(pair);
    } else {
      float* const out = static_cast<float*>(p_.out) + at;
      *out = p_.output == ProductOutput::kAddToFloat ? *out + sum : sum;
    }
  }

  const ProductMmaParams& p_;
  unsigned char* const shared_;
  const int lane_, first_row_, first_column_, warp_row_, warp_column_;
  float sums_[kRowFragments][kColumnFragments][4];
};

template <bool kFp16, int kRowTile>
__global__ void __launch_bounds__(ProductMma<kFp16, kRowTile>::kThreads)
    product_mma(const ProductMmaParams p) {
  TTT_DYNAMIC_SHARED(shared);
  ProductMma<kFp16, kRowTile>(p, shared).run();
}

}  // namespace ttt::cuda
