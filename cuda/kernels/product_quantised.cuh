// SPDX-License-Identifier: Apache-2.0
// See product_quantised.h. The weights of a stage pass through registers: read before the product of the
// stage that is there, converted and stored behind it.
#pragma once

#include "cuda/kernels/block_weights.cuh"
#include "cuda/kernels/product_mma.cuh"

namespace ttt::cuda {

// Each thread brings half of a row of the tile.
template <typename Weights>
class QuantisedTile {
 public:
  TTT_DEVICE QuantisedTile(const ProductMmaParams& p, int first_column)
      : weights_(p.W, static_cast<std::size_t>(p.n) * p.k), row_(threadIdx.x / 2), half_(threadIdx.x % 2) {
    // Rows behind the last are multiplied, as they cannot disturb others, and not stored.
    const int row = first_column + row_ < p.n ? first_column + row_ : p.n - 1;
    begin_ = static_cast<std::size_t>(row) * p.k;
  }

  TTT_DEVICE void fetch(int step, unsigned char*) {
    sixteen_ = weights_.sixteen(begin_ + step * ProductOrder::kDepth, half_);
  }
  TTT_DEVICE void store(unsigned char* tile) const { store_half_row<Weights>(tile, row_, half_, sixteen_); }

 private:
  const Weights weights_;
  const int row_, half_;
  std::size_t begin_;  // of the row's weights
  typename Weights::Sixteen sixteen_;
};

template <typename Weights, int kRowTile>
using ProductQuantised = ProductMma<true, kRowTile, QuantisedTile<Weights>>;

template <typename Weights, int kRowTile>
__global__ void __launch_bounds__(ProductTile::kThreads) product_quantised(const ProductMmaParams p) {
  TTT_DYNAMIC_SHARED(shared);
  ProductQuantised<Weights, kRowTile>(p, shared).run();
}

}  // namespace ttt::cuda
