// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/product_quantised.h"

#include <stdexcept>

#include "cuda/kernels/product_quantised.cuh"
#include "cuda/launch.cuh"

namespace ttt::cuda {
namespace {

// One tile of rows, where product_mma has two: the larger would save conversions and cost a second kernel for
// each type.
template <typename Weights>
void launch_quantised_rows(const ProductMmaParams& params, cudaStream_t stream) {
  launch(product_quantised<Weights, 64>, ProductQuantised<Weights, 64>::launch_shape(params), params, stream);
}

}  // namespace

void launch_product_quantised(MatrixType type, const ProductMmaParams& params, cudaStream_t stream) {
  switch (type) {
    case MatrixType::kQ8_0:
      return launch_quantised_rows<Q8_0Weights>(params, stream);
    case MatrixType::kQ4_0:
      return launch_quantised_rows<Q4_0Weights>(params, stream);
    case MatrixType::kQ4_K:
      return launch_quantised_rows<Q4_KWeights>(params, stream);
    case MatrixType::kQ6_K:
      return launch_quantised_rows<Q6_KWeights>(params, stream);
    case MatrixType::kF32:
    case MatrixType::kF16:
    case MatrixType::kBF16:
      break;
  }
  throw std::logic_error("launch_product_quantised: not a block type");
}

}  // namespace ttt::cuda
