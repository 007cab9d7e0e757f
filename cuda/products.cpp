// SPDX-License-Identifier: Apache-2.0
#include "cuda/products.h"

#include "cuda/kernels/product_exact.h"
#include "cuda/kernels/product_mma.h"

namespace ttt::cuda {
namespace {

void run_exact(const Product& product, cudaStream_t stream) {
  launch_product_exact({.weight = product.weight,
                        .x = static_cast<const float*>(product.x),
                        .y = product.y,
                        .num_rows = product.num_rows,
                        .adds = product.adds},
                       stream);
}

// Both operands in 16 bits of one type.
void run_mma(const Product& product, cudaStream_t stream) {
  const Matrix& weight = product.weight;
  launch_product_mma(weight.operands == OperandType::kF16 ? ProductType::kFp16 : ProductType::kBf16,
                     {.x = static_cast<const std::uint16_t*>(product.x),
                      .W = static_cast<const std::uint16_t*>(weight.data),
                      .out = product.y,
                      .x_stride = weight.inputs,
                      .out_stride = weight.outputs,
                      .rows = static_cast<std::int32_t>(product.num_rows),
                      .n = static_cast<std::int32_t>(weight.outputs),
                      .k = static_cast<std::int32_t>(weight.inputs),
                      .output = product.adds ? ProductOutput::kAddToFloat : ProductOutput::kFloat},
                     stream);
}

}  // namespace

void Products::run(const Product& product) const {
  product.weight.operands == OperandType::kF32 ? run_exact(product, stream_) : run_mma(product, stream_);
}

}  // namespace ttt::cuda
