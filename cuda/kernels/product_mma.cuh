// SPDX-License-Identifier: Apache-2.0
// See product_mma.h. A block of 8 warps computes kRowTile x 128 elements, with x and W in a ring of three
// stages of one step each. How W comes into a stage is up to WeightTile.
#pragma once

#include "cuda/kernels/product_mma.h"
#include "cuda/kernels/product_tiles.cuh"
#include "cuda/launch.cuh"

namespace ttt::cuda {

// The shape of a block: its columns of out, the stages of its ring, its warps.
struct ProductTile {
  static constexpr int kColumnTile = 128, kStages = 3, kWarps = 8, kThreads = kWarps * kWarp;
};

// W in 16 bits: copied as it is.
class HalfTile {
 public:
  TTT_DEVICE HalfTile(const ProductMmaParams& p, int first_column) : p_(p), first_column_(first_column) {}

  // Begins to bring columns [32 step, 32 step + 32) of 128 rows of W, and ends it.
  TTT_DEVICE void fetch(int step, unsigned char* tile) {
    ProductRows::copy<ProductTile::kColumnTile, ProductTile::kThreads>(
        tile, static_cast<const std::uint16_t*>(p_.W), static_cast<std::size_t>(p_.k), first_column_, p_.n,
        p_.k, step, threadIdx.x);
  }
  TTT_DEVICE void store(unsigned char*) const {}

 private:
  const ProductMmaParams& p_;
  const int first_column_;
};

template <bool kFp16, int kRowTile, typename WeightTile = HalfTile>
class ProductMma : private ProductTile {
 public:
  // A stage: kRowTile rows of x, then kColumnTile rows of W.
  static constexpr int kWeightOffset = kRowTile * ProductRows::kBytes;
  static constexpr int kStageBytes = (kRowTile + kColumnTile) * ProductRows::kBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  // Warps lie in a grid over the tile; a warp has kRowFragments x kColumnFragments fragments of 16 x 8.
  static constexpr int kRowWarps = 2, kColumnWarps = kWarps / kRowWarps;
  static constexpr int kRowFragments = kRowTile / 16 / kRowWarps;
  static constexpr int kColumnFragments = kColumnTile / 8 / kColumnWarps;

  static LaunchShape launch_shape(const ProductMmaParams& p) {
    return {static_cast<unsigned>((p.n + kColumnTile - 1) / kColumnTile),
            static_cast<unsigned>((p.rows + kRowTile - 1) / kRowTile), kThreads, kSharedBytes};
  }

  TTT_DEVICE ProductMma(const ProductMmaParams& params, unsigned char* shared)
      : p_(params),
        shared_(shared),
        lane_(threadIdx.x % kWarp),
        first_row_(blockIdx.y * kRowTile),
        first_column_(blockIdx.x * kColumnTile),
        weights_(params, first_column_),
        warp_row_(threadIdx.x / kWarp / kColumnWarps * kRowFragments * 16),
        warp_column_(threadIdx.x / kWarp % kColumnWarps * kColumnFragments * 8) {}

  TTT_DEVICE void run() {
    clear(sums_);
    clear(totals_);
    const int steps = ProductOrder::steps(p_.k), slice = ProductOrder::steps_of_slice(p_.k);
    TTT_UNROLL for (int step = 0; step < kStages - 1; ++step) {
      begin_load(step, steps);
      end_load(step, steps);
    }
    // A warp beyond the edge of out only loads.
    const bool multiplies = first_row_ + warp_row_ < p_.rows && first_column_ + warp_column_ < p_.n;
    int end_of_slice = slice;
    TTT_NO_UNROLL for (int step = 0; step < steps; ++step) {
      wait_copies<1>();
      sync_block();  // the stage is there, and that of the step before is no longer read
      begin_load(step + 2, steps);
      if (multiplies) multiply(stage_of(step));
      end_load(step + 2, steps);
      if (step + 1 == end_of_slice) {
        add_slice();
        end_of_slice += slice;
      }
    }
    add_slice();
    store();
  }

 private:
  TTT_DEVICE unsigned char* stage_of(int step) const { return shared_ + step % kStages * kStageBytes; }

  TTT_DEVICE void begin_load(int step, int steps) {
    if (step < steps) {
      ProductRows::copy<kRowTile, kThreads>(stage_of(step), p_.x, p_.x_stride, first_row_, p_.rows, p_.k,
                                            step, threadIdx.x);
      weights_.fetch(step, stage_of(step) + kWeightOffset);
    }
    commit_copies();
  }
  TTT_DEVICE void end_load(int step, int steps) {
    if (step < steps) weights_.store(stage_of(step) + kWeightOffset);
  }

  TTT_DEVICE void multiply(const unsigned char* stage) {
    TTT_UNROLL for (int half = 0; half < ProductOrder::kDepth / 16; ++half) {
      const int chunk = 2 * half + lane_ / 16;
      std::uint32_t x[kRowFragments][4], W[kColumnFragments / 2][4];
      TTT_UNROLL for (int m = 0; m < kRowFragments; ++m) {
        load_matrices(x[m], stage + ProductRows::chunk_offset(warp_row_ + 16 * m + lane_ % 16, chunk));
      }
      TTT_UNROLL for (int n = 0; n < kColumnFragments / 2; ++n) {
        load_matrices(W[n], stage + kWeightOffset +
                                ProductRows::chunk_offset(warp_column_ + 16 * n + lane_ % 16, chunk));
      }
      TTT_UNROLL for (int m = 0; m < kRowFragments; ++m) {
        TTT_UNROLL for (int n = 0; n < kColumnFragments; ++n) {
          const std::uint32_t b0 = W[n / 2][n % 2], b1 = W[n / 2][n % 2 + 2];
          multiply_accumulate<kFp16>(sums_[m][n], x[m], b0, b1);
        }
      }
    }
  }

  using Sums = float[kRowFragments][kColumnFragments][4];

  static TTT_DEVICE void clear(Sums& sums) {
    TTT_UNROLL for (int m = 0; m < kRowFragments; ++m) {
      TTT_UNROLL for (int n = 0; n < kColumnFragments; ++n) {
        TTT_UNROLL for (int e = 0; e < 4; ++e) sums[m][n][e] = 0.0F;
      }
    }
  }

  TTT_DEVICE void add_slice() {
    TTT_UNROLL for (int m = 0; m < kRowFragments; ++m) {
      TTT_UNROLL for (int n = 0; n < kColumnFragments; ++n) {
        TTT_UNROLL for (int e = 0; e < 4; ++e) totals_[m][n][e] += sums_[m][n][e];
      }
    }
    clear(sums_);
  }

  TTT_DEVICE void store() {
    TTT_UNROLL for (int m = 0; m < kRowFragments; ++m) {
      TTT_UNROLL for (int n = 0; n < kColumnFragments; ++n) {
        TTT_UNROLL for (int e = 0; e < 4; ++e) {
          const int row = first_row_ + warp_row_ + 16 * m + lane_ / 4 + 8 * (e / 2);
          const int column = first_column_ + warp_column_ + 8 * n + lane_ % 4 * 2 + e % 2;
          if (row < p_.rows && column < p_.n) store_one(row * p_.out_stride + column, totals_[m][n][e]);
        }
      }
    }
  }

  TTT_DEVICE void store_one(std::size_t at, float sum) {
    p_.out[at] = p_.output == ProductOutput::kAddToFloat ? p_.out[at] + sum : sum;
  }

  const ProductMmaParams& p_;
  unsigned char* const shared_;
  const int lane_, first_row_, first_column_;
  WeightTile weights_;
  const int warp_row_, warp_column_;
  Sums sums_, totals_;  // of the slice, and of those before it
};

template <bool kFp16, int kRowTile>
__global__ void __launch_bounds__(ProductTile::kThreads) product_mma(const ProductMmaParams p) {
  TTT_DYNAMIC_SHARED(shared);
  ProductMma<kFp16, kRowTile>(p, shared).run();
}

}  // namespace ttt::cuda
