// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/product_mma.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <span>
#include <vector>

#include "tests/cuda/device_array.h"
#include "tests/random.h"
#include "tests/same_bits.h"
#include "tests/sanitized.h"
#include "weights/float16.h"

using namespace ttt;
using cuda::ProductType;

namespace {

std::uint16_t half_bits(ProductType type, float x) {
  return type == ProductType::kFp16 ? weights::float_to_f16(x) : weights::float_to_bf16(x);
}

float half_value(ProductType type, std::uint16_t bits) {
  return type == ProductType::kFp16 ? weights::f16_to_float(bits) : weights::bf16_to_float(bits);
}

struct HalfProduct {
  ProductType type = ProductType::kBf16;
  std::size_t rows = 0, n = 0, k = 0, x_stride = 0;
  std::vector<std::uint16_t> x, W;

  HalfProduct(test::Random& random, ProductType product_type, std::size_t num_rows, std::size_t columns,
              std::size_t depth)
      : type(product_type), rows(num_rows), n(columns), k(depth), x_stride(depth + 8) {
    for (std::size_t i = 0; i < rows * x_stride; ++i) {
      x.push_back(i % x_stride < k ? half_bits(type, static_cast<float>(random.symmetric()))
                                   : std::uint16_t{0x7FFF});
    }
    for (std::size_t i = 0; i < n * k; ++i)
      W.push_back(half_bits(type, static_cast<float>(random.symmetric())));
  }

  // Rows [first, first + count) into rows n + 3 elements apart, over `before`.
  std::vector<float> run(std::size_t first, std::size_t count, cuda::ProductOutput output,
                         float before) const {
    const std::size_t out_stride = n + 3;
    const test::DeviceArray<std::uint16_t> device_x(
        {x.begin() + static_cast<std::ptrdiff_t>(first * x_stride),
         x.begin() + static_cast<std::ptrdiff_t>((first + count) * x_stride)});
    const test::DeviceArray<std::uint16_t> device_W(W);
    const test::DeviceArray<float> out(std::vector<float>(count * out_stride, before));
    cuda::launch_product_mma(type,
                             {.x = device_x.get(),
                              .W = device_W.get(),
                              .out = out.get(),
                              .x_stride = x_stride,
                              .out_stride = out_stride,
                              .rows = static_cast<std::int32_t>(count),
                              .n = static_cast<std::int32_t>(n),
                              .k = static_cast<std::int32_t>(k),
                              .output = output},
                             nullptr);
    std::vector<float> all = out.read(), dense;
    for (std::size_t row = 0; row < count; ++row) {
      for (std::size_t column = 0; column < out_stride; ++column) {
        const float value = all[row * out_stride + column];
        if (column < n) {
          dense.push_back(value);
        } else {
          REQUIRE(value == before);  // between the rows
        }
      }
    }
    return dense;
  }
};

}  // namespace

TEST_CASE("the product of 16-bit operands, against float64") {
  const ProductType type = GENERATE(ProductType::kBf16, ProductType::kFp16);
  struct Shape {
    std::size_t rows, n, k;
  };
  const Shape shape = GENERATE(Shape{1, 1, 8}, Shape{16, 130, 40}, Shape{17, 9, 64}, Shape{65, 40, 200});
  test::Random random(1);
  const HalfProduct product(random, type, shape.rows, shape.n, shape.k);
  const auto plain = product.run(0, shape.rows, cuda::ProductOutput::kFloat, 5.0F);
  const auto added = product.run(0, shape.rows, cuda::ProductOutput::kAddToFloat, 5.0F);
  for (std::size_t row = 0; row < shape.rows; ++row) {
    for (std::size_t column = 0; column < shape.n; ++column) {
      double sum = 0.0, magnitude = 0.0;
      for (std::size_t i = 0; i < shape.k; ++i) {
        const double term = static_cast<double>(half_value(type, product.x[row * product.x_stride + i])) *
                            static_cast<double>(half_value(type, product.W[column * shape.k + i]));
        sum += term;
        magnitude += std::abs(term);
      }
      const std::size_t at = row * shape.n + column;
      // Products are exact; k sums are rounded.
      REQUIRE(std::abs(static_cast<double>(plain[at]) - sum) <=
              static_cast<double>(shape.k) * 0x1p-24 * magnitude);
      REQUIRE(added[at] == plain[at] + 5.0F);
    }
  }
}

TEST_CASE("a row's product has the same bits alone and among any number of rows") {
  test::Random random(2);
  const std::size_t rows = test::kSanitized ? 130 : 600;
  const HalfProduct product(random, ProductType::kBf16, rows, 24, 72);
  const auto all = product.run(0, rows, cuda::ProductOutput::kFloat, 0.0F);
  std::vector<std::size_t> counts = {1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129};
  for (int i = 0; i < (test::kSanitized ? 2 : 12); ++i) counts.push_back(random.between(1, rows));
  for (const std::size_t count : counts) {
    const std::size_t first = random.below(rows - count + 1);
    const auto some = product.run(first, count, cuda::ProductOutput::kFloat, 0.0F);
    REQUIRE(test::same_bits(some, std::span(all).subspan(first * product.n, count * product.n)));
  }
}
