// SPDX-License-Identifier: Apache-2.0
#include "cuda/products.h"

#include "cuda/kernels/product_exact.h"
#include "cuda/kernels/product_mma.h"
#include "cuda/kernels/product_quantised.h"

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

// Both operands in 16 bits of one type; those of a block type become fp16 on the way.
void run_mma(const Product& product, cudaStream_t stream) {
  const Matrix& weight = product.weight;
  const ProductMmaParams params{.x = static_cast<const std::uint16_t*>(product.x),
                                .W = weight.data,
                                .out = product.y,
                                .x_stride = weight.inputs,
                                .out_stride = weight.outputs,
                                .rows = static_cast<std::int32_t>(product.num_rows),
                                .n = static_cast<std::int32_t>(weight.outputs),
                                .k = static_cast<std::int32_t>(weight.inputs),
                                .output = product.adds ? ProductOutput::kAddToFloat : ProductOutput::kFloat};
  if (is_block_type(weight.type)) {
    launch_product_quantised(weight.type, params, stream);
  } else {
    launch_product_mma(weight.operands == OperandType::kF16 ? ProductType::kFp16 : ProductType::kBf16, params,
                       stream);
  }
}

}  // namespace

void Products::run(const Product& product) const {
  if (product.weight.operands == OperandType::kF32) return run_exact(product, stream_);
  if (library_ != nullptr && library_->run(product, stream_)) return;
  run_mma(product, stream_);
}

}  // namespace ttt::cuda
