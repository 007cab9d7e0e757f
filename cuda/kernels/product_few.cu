// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/product_few.h"

#include <stdexcept>

#include "cuda/kernels/product_few.cuh"
#include "cuda/launch.cuh"

namespace ttt::cuda {
namespace {

constexpr std::int32_t kBlocksTogether = 2;  // on a multiprocessor

template <typename Kernel>
void launch_few(void (*kernel)(ProductFewParams), const ProductFewParams& params, cudaStream_t stream) {
  ProductFewParams placed = params;
  std::int32_t tiles = 0;
  for (std::int32_t i = 0; i < params.num_matrices; ++i) {
    FewRowsMatrix& matrix = placed.matrices[i];
    const std::int32_t outputs = matrix.up != nullptr ? kFewOutputs / 2 : kFewOutputs;
    tiles += (matrix.n + outputs - 1) / outputs;
    matrix.end_tile = tiles;
  }
  const std::int32_t most_blocks = kBlocksTogether * num_multiprocessors();
  const std::int32_t blocks = tiles < most_blocks ? tiles : most_blocks;
  launch(kernel, {static_cast<unsigned>(blocks), 1, Kernel::kThreads, Kernel::kSharedBytes, true}, placed,
         stream);
}

template <bool kFp16>
void launch_half(const ProductFewParams& params, cudaStream_t stream) {
  if (params.rows <= 8) {
    launch_few<ProductFewHalf<kFp16, 1>>(product_few<kFp16, 1>, params, stream);
  } else if (params.rows <= 16) {
    launch_few<ProductFewHalf<kFp16, 2>>(product_few<kFp16, 2>, params, stream);
  } else {
    launch_few<ProductFewHalf<kFp16, 4>>(product_few<kFp16, 4>, params, stream);
  }
}

// 16 rows would cost a third kernel for each type.
template <typename Weights>
void launch_quantised(const ProductFewParams& params, cudaStream_t stream) {
  if (params.rows <= 8) {
    launch_few<ProductFewQuantised<Weights, 1>>(product_few_quantised<Weights, 1>, params, stream);
  } else {
    launch_few<ProductFewQuantised<Weights, 4>>(product_few_quantised<Weights, 4>, params, stream);
  }
}

}  // namespace

void launch_product_few(MatrixType type, const ProductFewParams& params, cudaStream_t stream) {
  switch (type) {
    case MatrixType::kF16:
      return launch_half<true>(params, stream);
    case MatrixType::kBF16:
      return launch_half<false>(params, stream);
    case MatrixType::kQ8_0:
      return launch_quantised<Q8_0Weights>(params, stream);
    case MatrixType::kQ4_0:
      return launch_quantised<Q4_0Weights>(params, stream);
    case MatrixType::kQ4_K:
      return launch_quantised<Q4_KWeights>(params, stream);
    case MatrixType::kQ6_K:
      return launch_quantised<Q6_KWeights>(params, stream);
    case MatrixType::kF32:
      break;
  }
  throw std::logic_error("launch_product_few: not for fp32");
}

}  // namespace ttt::cuda
