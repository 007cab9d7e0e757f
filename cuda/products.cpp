// SPDX-License-Identifier: Apache-2.0
#include "cuda/products.h"

#include <array>
#include <cstddef>

#include "cuda/kernels/product_exact.h"
#include "cuda/kernels/product_few.h"
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

// Whether product_few multiplies it.
bool suits_few_rows(const Matrix& weight, std::uint32_t num_rows) {
  return weight.operands != OperandType::kF32 && num_rows <= static_cast<std::uint32_t>(kMostFewRows);
}

ProductFewParams few_rows_params(const Matrix& weight, const void* x, std::uint32_t num_rows) {
  ProductFewParams params;
  params.x = static_cast<const std::uint16_t*>(x);
  params.rows = static_cast<std::int32_t>(num_rows);
  params.k = static_cast<std::int32_t>(weight.inputs);
  return params;
}

// REQUIRES: all suit, and are of one type.
void run_few_rows(std::span<const Product> products, cudaStream_t stream) {
  ProductFewParams params = few_rows_params(products[0].weight, products[0].x, products[0].num_rows);
  for (const Product& product : products) {
    params.matrices[params.num_matrices++] = {.W = product.weight.data,
                                              .out = {.data = product.y, .type = OperandType::kF32},
                                              .n = static_cast<std::int32_t>(product.weight.outputs),
                                              .adds = product.adds};
  }
  launch_product_few(products[0].weight.type, params, stream);
}

}  // namespace

void Products::run(const Product& product) const {
  if (product.weight.operands == OperandType::kF32) return run_exact(product, stream_);
  if (suits_few_rows(product.weight, product.num_rows)) return run_few_rows({&product, 1}, stream_);
  if (library_ != nullptr && library_->run(product, stream_)) return;
  run_mma(product, stream_);
}

void Products::run_together(std::span<const Product> products) const {
  const auto alike = [](const Product& a, const Product& b) { return a.weight.type == b.weight.type; };
  for (std::size_t i = 0; i < products.size(); ++i) {
    const Product& first = products[i];
    if (!suits_few_rows(first.weight, first.num_rows)) {
      run(first);
      continue;
    }
    std::array<Product, kMostTogether> group;
    std::size_t size = 0;
    for (std::size_t j = 0; j < products.size(); ++j) {
      if (!alike(products[j], first)) continue;
      if (j < i) break;  // they went with an earlier one
      group[size++] = products[j];
    }
    if (size > 0) run_few_rows(std::span(group).first(size), stream_);
  }
}

bool Products::run_gated(const GatedProduct& product) const {
  if (!suits_few_rows(product.gate, product.num_rows) || product.up.type != product.gate.type) return false;
  ProductFewParams params = few_rows_params(product.gate, product.x, product.num_rows);
  params.matrices[params.num_matrices++] = {.W = product.gate.data,
                                            .up = product.up.data,
                                            .out = product.out,
                                            .n = static_cast<std::int32_t>(product.gate.outputs)};
  launch_product_few(product.gate.type, params, stream_);
  return true;
}

}  // namespace ttt::cuda
