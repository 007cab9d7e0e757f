// SPDX-License-Identifier: Apache-2.0
// See product_quantised.h. The weights of a stage pass through registers: read before the product of the
// stage that is there, converted and stored behind it.
#pragma once

#include "cuda/kernels/block_weights.cuh"
#include "cuda/kernels/product_mma.cuh"

namespace ttt::cuda {

// Each thread brings half of a row of the tile: its chunks 0 and 2, or 1 and 3.
template <typename Weights>
class QuantisedTile {
 public:
  TTT_DEVICE QuantisedTile(const ProductMmaParams& p, int first_column)
      : weights_(p.W, static_cast<std::size_t>(p.n) * p.k), row_(threadIdx.x / 2), chunk_(threadIdx.x % 2) {
    // Rows behind the last are multiplied, as they cannot disturb others, and not stored.
    const int row = first_column + row_ < p.n ? first_column + row_ : p.n - 1;
    begin_ = static_cast<std::size_t>(row) * p.k;
  }

  TTT_DEVICE void fetch(int step, unsigned char*) {
    TTT_UNROLL for (int i = 0; i < 2; ++i) {
      eights_[i] = weights_.eight(begin_ + step * ProductOrder::kDepth + (chunk_ + 2 * i) * 8);
    }
  }

  TTT_DEVICE void store(unsigned char* tile) const {
    TTT_UNROLL for (int i = 0; i < 2; ++i) {
      const typename Weights::Eight& eight = eights_[i];
      *reinterpret_cast<uint4*>(tile + ProductRows::chunk_offset(row_, chunk_ + 2 * i)) = {
          eight.halves(0), eight.halves(2), eight.halves(4), eight.halves(6)};
    }
  }

 private:
  const Weights weights_;
  const int row_, chunk_;
  std::size_t begin_;  // of the row's weights
  typename Weights::Eight eights_[2];
};

template <typename Weights, int kRowTile>
using ProductQuantised = ProductMma<true, kRowTile, QuantisedTile<Weights>>;

template <typename Weights, int kRowTile>
__global__ void __launch_bounds__(ProductTile::kThreads) product_quantised(const ProductMmaParams p) {
  TTT_DYNAMIC_SHARED(shared);
  ProductQuantised<Weights, kRowTile>(p, shared).run();
}

}  // namespace ttt::cuda
