// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/product_mma.h"

#include "cuda/kernels/product_mma.cuh"
#include "cuda/launch.cuh"

namespace ttt::cuda {
namespace {

template <bool kFp16, int kRowTile>
void launch_product_tile(const ProductMmaParams& params, cudaStream_t stream) {
  launch(product_mma<kFp16, kRowTile>, ProductMma<kFp16, kRowTile>::launch_shape(params), params, stream);
}

template <bool kFp16>
void launch_product_type(const ProductMmaParams& params, cudaStream_t stream) {
  if (params.rows <= 64) {
    launch_product_tile<kFp16, 64>(params, stream);
  } else {
    launch_product_tile<kFp16, 128>(params, stream);
  }
}

}  // namespace

void launch_product_mma(ProductType type, const ProductMmaParams& params, cudaStream_t stream) {
  if (type == ProductType::kFp16) {
    launch_product_type<true>(params, stream);
  } else {
    launch_product_type<false>(params, stream);
  }
}

}  // namespace ttt::cuda
