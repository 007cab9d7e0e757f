// SPDX-License-Identifier: Apache-2.0
// out = x W^T on tensor cores, 16-bit operands and fp32 sums. Each element is added up in one order
// (ProductOrder), whatever the number of rows and the tile that it lies in: a row has the same bits alone and
// among others. For more rows than product_few takes, with --deterministic and where cuBLASLt is missing.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace ttt::cuda {

enum class ProductOutput : std::int32_t {
  kFloat,       // out [rows, n]
  kAddToFloat,  // the same, added to what is there
};

struct ProductMmaParams {
  const std::uint16_t* x = nullptr;  // [rows, k]
  const void* W = nullptr;           // [n, k]
  float* out = nullptr;
  // Elements between rows. Addresses of x and W are multiples of 16 bytes, so are x_stride and k in bytes.
  std::size_t x_stride = 0, out_stride = 0;
  std::int32_t rows = 0, n = 0, k = 0;
  ProductOutput output = ProductOutput::kFloat;
};

enum class ProductType { kBf16, kFp16 };

void launch_product_mma(ProductType type, const ProductMmaParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
