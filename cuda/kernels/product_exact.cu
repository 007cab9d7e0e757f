// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/product_exact.cuh"

#include "cuda/launch.cuh"

namespace ttt::cuda {

void launch_product_exact(const ProductParams& params, cudaStream_t stream) {
  const LaunchShape shape{(params.weight.outputs + kTileOutputs - 1) / kTileOutputs,
                          (params.num_rows + kTileRows - 1) / kTileRows, kProductThreads,
                          kProductSharedFloats * sizeof(float)};
  switch (params.weight.type) {
    case MatrixType::kF32:
      return launch(product_exact<float>, shape, params, stream);
    case MatrixType::kF16:
      return launch(product_exact<Half>, shape, params, stream);
    case MatrixType::kBF16:
      return launch(product_exact<Bfloat16>, shape, params, stream);
  }
}

}  // namespace ttt::cuda
