// SPDX-License-Identifier: Apache-2.0
#include "cpu/gemm.h"
#include "cpu/aligned_floats.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "tests/cpu/forced_target.h"
#include "tests/cpu/products.h"
#include "tests/cpu/stored_matrix.h"
#include "tests/product_errors.h"
#include "tests/same_bits.h"
#include "tests/sanitized.h"

using namespace ttt;
using weights::DType;

namespace {

std::vector<test::ProductShape> plain_tails() {
  std::vector<test::ProductShape> shapes;
  for (std::size_t outputs = 1; outputs <= 40; ++outputs) shapes.push_back({outputs, 5});
  for (std::size_t inputs = 1; inputs <= 40; ++inputs) shapes.push_back({17, inputs});
  for (const std::size_t outputs : {1U, 16U, 33U, 64U, 83U}) {
    for (const std::size_t inputs : {64U, 255U, 256U, 257U, 520U}) shapes.push_back({outputs, inputs});
  }
  return shapes;
}

}  // namespace

TEST_CASE("products are within the bound for every target, type, length and number of rows") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  const DType dtype = GENERATE(DType::kF32, DType::kF16, DType::kBF16);
  INFO(cpu::dispatch_target() << " " << weights::dtype_info(dtype).name);
  test::Random random(1);
  cpu::ThreadPool pool(1);
  for (const test::ProductShape& shape : plain_tails()) {
    INFO(shape.outputs << " x " << shape.inputs);
    const test::StoredMatrix w(random, dtype, shape.outputs, shape.inputs, random.below(3));
    const cpu::PackedMatrix packed(w.tensor, pool);
    constexpr std::size_t kRows = 40;
    const std::size_t shift = random.below(4);  // of x, in floats
    const std::vector<float> x = test::random_floats(random, shift + kRows * shape.inputs);
    const std::vector<float> all = test::products(packed, x.data() + shift, kRows);
    REQUIRE(test::plain_error_over_bound(
                all, {x.data() + shift, w.values, kRows, shape.outputs, shape.inputs}) == 0.0);
    const std::size_t step = test::kSanitized || shape.inputs > 40 ? 5 : 1;
    for (std::size_t rows = 1 + (shape.outputs + shape.inputs) % step; rows < kRows; rows += step) {
      INFO(rows << " rows");
      const std::size_t first = random.below(kRows - rows);
      const std::vector<float> some = test::products(packed, x.data() + shift + first * shape.inputs, rows);
      REQUIRE(test::same_bits(some, std::span(all).subspan(first * shape.outputs, some.size())));
    }
  }
}

TEST_CASE("a row's product has the same bits alone, among 1,000 rows and with any number of threads") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  const DType dtype = GENERATE(DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0,
                               DType::kQ4_K, DType::kQ6_K);
  INFO(cpu::dispatch_target() << " " << weights::dtype_info(dtype).name);
  test::Random random(2);
  cpu::ThreadPool pool(1);
  const std::size_t inputs = dtype == DType::kQ4_K || dtype == DType::kQ6_K ? 512 : 320, outputs = 100,
                    num_rows = test::kSanitized ? 300 : 1000;
  const test::StoredMatrix w(random, dtype, outputs, inputs, 0);
  const cpu::PackedMatrix packed(w.tensor, pool);
  const std::vector<float> x = test::random_floats(random, num_rows * inputs);
  const std::vector<float> all = test::products(packed, x.data(), num_rows);
  for (const std::size_t threads : {2U, 3U, 5U, 16U}) {
    CHECK(test::same_bits(test::products(packed, x.data(), num_rows, threads), all));
    CHECK(test::same_bits(test::products(packed, x.data(), 1, threads), std::span(all).first(outputs)));
  }
  for (const std::size_t row : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{3},
                                std::size_t{127}, std::size_t{128}, num_rows / 2, num_rows - 1}) {
    REQUIRE(test::same_bits(test::products(packed, x.data() + row * inputs, 1),
                            std::span(all).subspan(row * outputs, outputs)));
  }
}

TEST_CASE("products of different types and sizes in one job have the bits of each alone") {
  const std::size_t num_rows = GENERATE(1U, 7U, 300U), threads = GENERATE(1U, 2U, 3U);
  constexpr std::size_t kInputs = 320;
  test::Random random(8);
  cpu::ThreadPool pool(threads);
  std::vector<cpu::PackedMatrix> matrices;
  const std::pair<DType, std::size_t> shapes[] = {
      {DType::kQ8_0, 100}, {DType::kF32, 16}, {DType::kBF16, 1}, {DType::kQ4_0, 333}};
  for (const auto& [dtype, outputs] : shapes) {
    matrices.emplace_back(test::StoredMatrix(random, dtype, outputs, kInputs, 0).tensor, pool);
  }
  const std::vector<float> x = test::random_floats(random, num_rows * kInputs);
  std::vector<std::vector<float>> y;
  for (const cpu::PackedMatrix& w : matrices) y.emplace_back(num_rows * w.num_outputs(), std::nanf(""));
  std::vector<cpu::Product> products;
  for (std::size_t i = 0; i < y.size(); ++i) products.push_back({&matrices[i], y[i].data()});
  cpu::AlignedFloats scratch(threads * cpu::kGemmScratch, 1.0F);
  cpu::QuantisedBuffer quantised(num_rows, kInputs);
  const cpu::GemmInputs inputs(x.data(), num_rows, kInputs, quantised);
  REQUIRE(cpu::wants_quantised(products));
  REQUIRE_FALSE(cpu::wants_quantised(std::span(products).subspan(1, 2)));
  for (std::size_t row = 0; row < num_rows; ++row) inputs.quantise(row);
  cpu::gemm(pool, products, inputs, scratch.data());
  for (std::size_t i = 0; i < y.size(); ++i) {
    INFO(i);
    CHECK(test::same_bits(y[i], test::products(matrices[i], x.data(), num_rows)));
  }
}

TEST_CASE("targets with fused multiply-adds agree bit by bit") {
  std::vector<std::vector<float>> results;
  test::Random random(3);
  cpu::ThreadPool pool(1);
  const test::StoredMatrix w(random, DType::kBF16, 50, 700, 0);
  const cpu::PackedMatrix packed(w.tensor, pool);
  const std::vector<float> x = test::random_floats(random, 9 * 700);
  for (const std::string& name : cpu::cpu_targets()) {
    if (name.ends_with("sse4") || name.ends_with("scalar")) continue;
    const test::ForcedTarget target(name);
    results.push_back(test::products(packed, x.data(), 9));
    CHECK(results.back() == results.front());
  }
}

TEST_CASE("16-bit weights are widened exactly, subnormal numbers and infinities too") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  const DType dtype = GENERATE(DType::kF16, DType::kBF16);
  INFO(cpu::dispatch_target() << " " << weights::dtype_info(dtype).name);
  std::vector<std::uint16_t> bits(65536);
  std::iota(bits.begin(), bits.end(), std::uint16_t{0});
  const auto bytes = std::as_bytes(std::span(bits));
  std::vector<float> values(65536);
  weights::to_floats(dtype, bytes, values);
  cpu::ThreadPool pool(1);
  const cpu::PackedMatrix packed({.name = "w", .dtype = dtype, .shape = {65536, 1}, .bytes = bytes}, pool);
  const std::vector<float> ones(20, 1.0F);
  for (const std::size_t rows : {1U, 2U, 20U}) {  // in registers, and through the scratch of many rows
    const std::vector<float> y = test::products(packed, ones.data(), rows);
    for (std::size_t i = 0; i < y.size(); ++i) {
      const float wanted = values[i % 65536];
      if (!(y[i] == wanted || (std::isnan(y[i]) && std::isnan(wanted)))) {
        FAIL("bits " << i % 65536 << ": wanted " << wanted << ", found " << y[i]);
      }
    }
  }
}

TEST_CASE("a part of the panels leaves the other outputs alone") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  test::Random random(4);
  cpu::ThreadPool pool(1);
  const test::StoredMatrix w(random, DType::kF32, 70, 9, 0);
  const cpu::PackedMatrix packed(w.tensor, pool);
  const std::size_t rows = GENERATE(1U, 30U);
  const std::vector<float> x = test::random_floats(random, rows * 9);
  const std::vector<float> all = test::products(packed, x.data(), rows);
  std::vector<float> y(rows * 70, 7.0F);
  cpu::AlignedFloats scratch(cpu::kGemmScratch);
  cpu::gemm_panels(packed, 1, 3, {x.data(), rows, {}, rows}, y.data(), scratch.data());
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t output = i % 70;
    REQUIRE(y[i] == (output >= 16 && output < 48 ? all[i] : 7.0F));
  }
}
