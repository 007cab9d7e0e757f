// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/expand_weights.cuh"

#include <stdexcept>

#include "cuda/launch.cuh"

namespace ttt::cuda {

void launch_expand_weights(MatrixType type, const ExpandWeightsParams& params, cudaStream_t stream) {
  const LaunchShape shape{
      .grid_x = static_cast<unsigned>((params.count + ExpandedShare::kWeights - 1) / ExpandedShare::kWeights),
      .threads = ExpandedShare::kThreads};
  switch (type) {
    case MatrixType::kQ8_0:
      return launch(expand_weights<Q8_0Weights>, shape, params, stream);
    case MatrixType::kQ4_0:
      return launch(expand_weights<Q4_0Weights>, shape, params, stream);
    case MatrixType::kQ4_K:
      return launch(expand_weights<Q4_KWeights>, shape, params, stream);
    case MatrixType::kQ6_K:
      return launch(expand_weights<Q6_KWeights>, shape, params, stream);
    case MatrixType::kF32:
    case MatrixType::kF16:
    case MatrixType::kBF16:
      break;
  }
  throw std::logic_error("launch_expand_weights: not a block type");
}

}  // namespace ttt::cuda
