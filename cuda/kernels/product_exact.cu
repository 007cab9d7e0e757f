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
      return launch(product_exact<Plain<float>>, shape, params, stream);
    case MatrixType::kF16:
      return launch(product_exact<Plain<Half>>, shape, params, stream);
    case MatrixType::kBF16:
      return launch(product_exact<Plain<Bfloat16>>, shape, params, stream);
    case MatrixType::kQ8_0:
      return launch(product_exact<Blocks<Q8_0Weights>>, shape, params, stream);
    case MatrixType::kQ4_0:
      return launch(product_exact<Blocks<Q4_0Weights>>, shape, params, stream);
    case MatrixType::kQ4_K:
      return launch(product_exact<Blocks<Q4_KWeights>>, shape, params, stream);
    case MatrixType::kQ6_K:
      return launch(product_exact<Blocks<Q6_KWeights>>, shape, params, stream);
  }
}

}  // namespace ttt::cuda
