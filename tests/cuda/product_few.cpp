// SPDX-License-Identifier: Apache-2.0
// Products of few rows are bitwise those of many: product_mma's, which is compared with float64.
#include "cuda/kernels/product_few.h"

#include <catch2/catch.hpp>
#include <deque>
#include <vector>

#include "cuda/kernels/elementwise.h"
#include "cuda/kernels/product_mma.h"
#include "tests/cuda/device_array.h"
#include "tests/random.h"
#include "tests/same_bits.h"
#include "weights/float16.h"

using namespace ttt;
using cuda::MatrixType;
using cuda::OperandType;
using cuda::ProductType;

namespace {

using Halves = std::vector<std::uint16_t>;

Halves random_halves(test::Random& random, ProductType type, std::size_t count) {
  Halves halves(count);
  for (std::uint16_t& bits : halves) {
    const auto x = static_cast<float>(random.symmetric());
    bits = type == ProductType::kFp16 ? weights::float_to_f16(x) : weights::float_to_bf16(x);
  }
  return halves;
}

// What stays of an output that nobody writes.
constexpr float kBefore = 7.0F;

std::vector<float> many_rows(ProductType type, const Halves& x, const Halves& W, std::size_t rows,
                             std::size_t k, bool adds = false) {
  const std::size_t n = W.size() / k;
  const test::DeviceArray<std::uint16_t> device_x(x), device_W(W);
  const test::DeviceArray<float> out(std::vector<float>(rows * n, kBefore));
  cuda::launch_product_mma(type,
                           {.x = device_x.get(),
                            .W = device_W.get(),
                            .out = out.get(),
                            .x_stride = k,
                            .out_stride = n,
                            .rows = static_cast<std::int32_t>(rows),
                            .n = static_cast<std::int32_t>(n),
                            .k = static_cast<std::int32_t>(k),
                            .output = adds ? cuda::ProductOutput::kAddToFloat : cuda::ProductOutput::kFloat},
                           nullptr);
  return out.read();
}

MatrixType matrix_type(ProductType type) {
  return type == ProductType::kFp16 ? MatrixType::kF16 : MatrixType::kBF16;
}

cuda::ProductFewParams params_of(const test::DeviceArray<std::uint16_t>& x, std::size_t rows, std::size_t k) {
  cuda::ProductFewParams params;
  params.x = x.get();
  params.rows = static_cast<std::int32_t>(rows);
  params.k = static_cast<std::int32_t>(k);
  return params;
}

// The products of x with all matrices, in one launch.
std::vector<std::vector<float>> few_rows(ProductType type, const Halves& x,
                                         const std::vector<Halves>& matrices, std::size_t rows, std::size_t k,
                                         bool adds = false) {
  const test::DeviceArray<std::uint16_t> device_x(x);
  std::deque<test::DeviceArray<std::uint16_t>> device_matrices;
  std::deque<test::DeviceArray<float>> outs;
  cuda::ProductFewParams params = params_of(device_x, rows, k);
  for (const Halves& W : matrices) {
    const auto& device_W = device_matrices.emplace_back(W);
    const auto& out = outs.emplace_back(std::vector<float>(rows * W.size() / k, kBefore));
    params.matrices[params.num_matrices++] = {.W = device_W.get(),
                                              .out = {.data = out.get(), .type = OperandType::kF32},
                                              .n = static_cast<std::int32_t>(W.size() / k),
                                              .adds = adds};
  }
  cuda::launch_product_few(matrix_type(type), params, nullptr);
  std::vector<std::vector<float>> found;
  for (const auto& out : outs) found.push_back(out.read());
  return found;
}

}  // namespace

TEST_CASE("a product of few rows has the bits of a product of many") {
  struct Shape {
    std::size_t rows, n, k;
  };
  test::Random random(1);
  for (const ProductType type : {ProductType::kBf16, ProductType::kFp16}) {
    for (const Shape& shape :
         {Shape{1, 1, 8}, Shape{1, 33, 256}, Shape{3, 16, 520}, Shape{8, 40, 768}, Shape{9, 17, 2048},
          Shape{16, 5, 264}, Shape{17, 31, 1032}, Shape{32, 64, 72}}) {
      INFO(shape.rows << " rows, " << shape.n << " x " << shape.k);
      const Halves x = random_halves(random, type, shape.rows * shape.k);
      const Halves W = random_halves(random, type, shape.n * shape.k);
      for (const bool adds : {false, true}) {
        REQUIRE(test::same_bits(few_rows(type, x, {W}, shape.rows, shape.k, adds)[0],
                                many_rows(type, x, W, shape.rows, shape.k, adds)));
      }
    }
  }
}

// A GPU has some hundred blocks: only then does one go on to another tile, with slices longer than its ring.
TEST_CASE("a block that multiplies one tile after another keeps them apart", "[slow]") {
  test::Random random(5);
#ifdef TTT_ON_DEVICE
  constexpr std::size_t n = 9'000;
#else
  constexpr std::size_t n = 300;
#endif
  for (const std::size_t k : {std::size_t{4'096}, std::size_t{2'056}}) {
    for (const std::size_t rows : {std::size_t{1}, std::size_t{9}, std::size_t{32}}) {
      INFO(rows << " rows, " << n << " x " << k);
      const Halves x = random_halves(random, ProductType::kBf16, rows * k);
      const Halves W = random_halves(random, ProductType::kBf16, n * k);
      REQUIRE(test::same_bits(few_rows(ProductType::kBf16, x, {W}, rows, k)[0],
                              many_rows(ProductType::kBf16, x, W, rows, k)));
    }
  }
}

TEST_CASE("matrices in one launch are multiplied as each alone") {
  test::Random random(3);
  constexpr std::size_t kInputs = 264, kRows = 5;
  const Halves x = random_halves(random, ProductType::kFp16, kRows * kInputs);
  std::vector<Halves> matrices;
  for (const std::size_t n : {40U, 1U, 16U, 33U, 12U}) {
    matrices.push_back(random_halves(random, ProductType::kFp16, n * kInputs));
  }
  const auto together = few_rows(ProductType::kFp16, x, matrices, kRows, kInputs);
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    CHECK(test::same_bits(together[i], many_rows(ProductType::kFp16, x, matrices[i], kRows, kInputs)));
  }
}

TEST_CASE("a gated product has the bits of two products and SwiGLU between them") {
  test::Random random(4);
  constexpr std::size_t kInputs = 136, kOutputs = 21;
  for (const std::size_t rows : {1U, 11U, 32U}) {
    const Halves x = random_halves(random, ProductType::kBf16, rows * kInputs);
    const Halves gate = random_halves(random, ProductType::kBf16, kOutputs * kInputs);
    const Halves up = random_halves(random, ProductType::kBf16, kOutputs * kInputs);
    const test::DeviceArray<std::uint16_t> device_x(x), device_gate(gate), device_up(up);
    const test::DeviceArray<float> gates(many_rows(ProductType::kBf16, x, gate, rows, kInputs));
    const test::DeviceArray<float> ups(many_rows(ProductType::kBf16, x, up, rows, kInputs));
    for (const OperandType type : {OperandType::kF32, OperandType::kF16, OperandType::kBF16}) {
      const test::DeviceArray<float> found(std::vector<float>(rows * kOutputs, kBefore));
      const test::DeviceArray<float> wanted(std::vector<float>(rows * kOutputs, kBefore));
      cuda::ProductFewParams params = params_of(device_x, rows, kInputs);
      params.num_matrices = 1;
      params.matrices[0] = {.W = device_gate.get(),
                            .up = device_up.get(),
                            .out = {.data = found.get(), .type = type},
                            .n = kOutputs};
      cuda::launch_product_few(MatrixType::kBF16, params, nullptr);
      cuda::launch_silu_multiply({.gate = gates.get(),
                                  .up = ups.get(),
                                  .out = {.data = wanted.get(), .type = type},
                                  .size = rows * kOutputs},
                                 nullptr);
      REQUIRE(test::same_bits(found.read(), wanted.read()));  // where of two bytes each, what follows too
    }
  }
}
