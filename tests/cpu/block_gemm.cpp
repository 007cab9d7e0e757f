// SPDX-License-Identifier: Apache-2.0
#include "cpu/block_gemm.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "cpu/aligned_floats.h"
#include "cpu/gemm.h"
#include "tests/cpu/forced_target.h"
#include "tests/cpu/products.h"
#include "tests/cpu/stored_matrix.h"
#include "tests/product_errors.h"
#include "tests/same_bits.h"
#include "tests/sanitized.h"

using namespace ttt;
using weights::DType;
using weights::kBlockWeights;

namespace {

std::vector<test::ProductShape> shapes_in_256s() {
  std::vector<test::ProductShape> shapes;
  for (const std::size_t outputs : {1U, 7U, 16U, 17U, 40U, 64U, 83U}) shapes.push_back({outputs, 256});
  shapes.push_back({33, 512});
  shapes.push_back({17, 1280});
  shapes.push_back({18, 5632});  // more than the scratch holds of a few rows
  return shapes;
}

std::vector<test::ProductShape> block_tails() {
  std::vector<test::ProductShape> shapes;
  for (std::size_t outputs = 1; outputs <= 40; ++outputs) shapes.push_back({outputs, 32});
  for (std::size_t inputs = 32; inputs <= 544; inputs += 32) shapes.push_back({17, inputs});
  for (const std::size_t outputs : {16U, 33U, 64U, 83U}) shapes.push_back({outputs, 288});
  shapes.push_back({18, 5504});  // more than the scratch holds of a few rows
  return shapes;
}

}  // namespace

TEST_CASE("quantised products are within the bound for every target, type, length and number of rows") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  const DType dtype = GENERATE(DType::kQ8_0, DType::kQ4_0);
  INFO(cpu::dispatch_target() << " " << weights::dtype_info(dtype).name);
  test::Random random(1);
  cpu::ThreadPool pool(1);
  for (const test::ProductShape& shape : block_tails()) {
    INFO(shape.outputs << " x " << shape.inputs);
    const test::StoredMatrix w(random, dtype, shape.outputs, shape.inputs, random.below(3));
    const cpu::PackedMatrix packed(w.tensor, pool);
    constexpr std::size_t kRows = 40;
    const std::size_t shift = random.below(4);  // of x, in floats
    const std::vector<float> x = test::random_floats(random, shift + kRows * shape.inputs);
    const std::vector<float> all = test::products(packed, x.data() + shift, kRows);
    const std::size_t checked = shape.inputs > 1000 ? 3 : kRows;
    REQUIRE(test::block_error_over_bound(
                all, {x.data() + shift, w.values, checked, shape.outputs, shape.inputs}) == 0.0);
    const std::size_t step = test::kSanitized || shape.inputs > 64 ? 5 : 1;
    for (std::size_t rows = 1 + (shape.outputs + shape.inputs) % step; rows < kRows; rows += step) {
      INFO(rows << " rows");
      const std::size_t first = random.below(kRows - rows);
      const std::vector<float> some = test::products(packed, x.data() + shift + first * shape.inputs, rows);
      REQUIRE(test::same_bits(some, std::span(all).subspan(first * shape.outputs, some.size())));
    }
  }
}

TEST_CASE(
    "products in blocks of 256 are within the bound for every target, type, length and number of rows") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  const DType dtype = GENERATE(DType::kQ4_K, DType::kQ6_K);
  INFO(cpu::dispatch_target() << " " << weights::dtype_info(dtype).name);
  test::Random random(7);
  cpu::ThreadPool pool(1);
  for (const test::ProductShape& shape : shapes_in_256s()) {
    INFO(shape.outputs << " x " << shape.inputs);
    const test::StoredMatrix w(random, dtype, shape.outputs, shape.inputs, random.below(3));
    const cpu::PackedMatrix packed(w.tensor, pool);
    constexpr std::size_t kRows = 40;
    const std::vector<float> x = test::random_floats(random, kRows * shape.inputs, 0.3);
    const std::vector<float> all = test::products(packed, x.data(), kRows);
    REQUIRE(test::block_error_over_bound(all, {x.data(), w.values, 3, shape.outputs, shape.inputs},
                                         test::spans_of(w.tensor, w.values)) == 0.0);
    const std::size_t step = test::kSanitized || shape.inputs > 256 ? 5 : 1;
    for (std::size_t rows = 1 + (shape.outputs + shape.inputs) % step; rows < kRows; rows += step) {
      INFO(rows << " rows");
      const std::size_t first = random.below(kRows - rows);
      const std::vector<float> some = test::products(packed, x.data() + first * shape.inputs, rows);
      REQUIRE(test::same_bits(some, std::span(all).subspan(first * shape.outputs, some.size())));
    }
  }
}

TEST_CASE("rows and inputs beyond what a cache holds change no bit of a row's product") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  const DType dtype = GENERATE(DType::kQ8_0, DType::kQ4_0, DType::kQ4_K, DType::kQ6_K);
  INFO(cpu::dispatch_target() << " " << weights::dtype_info(dtype).name);
  constexpr std::size_t kOutputs = 37;
  const std::size_t rows =
      test::kSanitized ? 70 : 131;  // with so many, inputs come in two and in three parts
  const std::size_t inputs = dtype == DType::kQ8_0 || dtype == DType::kQ4_0 ? 5920 : 5888;
  test::Random random(7);
  cpu::ThreadPool pool(1);
  const test::StoredMatrix w(random, dtype, kOutputs, inputs, 0);
  const cpu::PackedMatrix packed(w.tensor, pool);
  const std::vector<float> x = test::random_floats(random, rows * inputs);
  const std::vector<float> all = test::products(packed, x.data(), rows);
  for (std::size_t row = 0; row < rows; row += 26) {
    INFO(row);
    const std::vector<float> alone = test::products(packed, x.data() + row * inputs, 1);
    REQUIRE(test::same_bits(alone, std::span(all).subspan(row * kOutputs, kOutputs)));
  }
}

TEST_CASE("quantised products have the same bits on every target") {
  const DType dtype = GENERATE(DType::kQ8_0, DType::kQ4_0, DType::kQ4_K, DType::kQ6_K);
  const std::size_t inputs = dtype == DType::kQ8_0 || dtype == DType::kQ4_0 ? 704 : 768;
  test::Random random(3);
  cpu::ThreadPool pool(1);
  const test::StoredMatrix w(random, dtype, 50, inputs, 0);
  const cpu::PackedMatrix packed(w.tensor, pool);
  constexpr std::size_t kRows = 33;
  std::vector<float> x = test::random_floats(random, kRows * inputs);
  for (std::size_t i = 0; i < inputs; ++i) {
    x[i] *= 0x1p-78F;
    x[inputs + i] *= 0x1p99F;
  }
  std::vector<std::vector<float>> results;
  for (const std::string& name : cpu::cpu_targets()) {
    INFO(name);
    const test::ForcedTarget target(name);
    results.push_back(test::products(packed, x.data(), kRows));
    CHECK(test::same_bits(results.back(), results.front()));
  }
}

TEST_CASE("the largest quants neither saturate nor wrap") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  INFO(cpu::dispatch_target());
  constexpr std::size_t kOutputs = 16, kInputs = 256;
  weights::BlockQ8_0 lowest{.scale = 0x3C00, .quants = {}};  // scale 1
  std::fill_n(lowest.quants, kBlockWeights, std::int8_t{-128});
  const std::vector<weights::BlockQ8_0> q8(kOutputs * kInputs / kBlockWeights, lowest);
  const std::vector<weights::BlockQ4_0> q4(kOutputs * kInputs / kBlockWeights,
                                           {.scale = 0x3C00, .nibbles = {}});
  cpu::ThreadPool pool(1);
  const weights::Shape shape = {kOutputs, kInputs};
  const cpu::PackedMatrix eights(
      {.name = "w", .dtype = DType::kQ8_0, .shape = shape, .bytes = std::as_bytes(std::span(q8))}, pool);
  const cpu::PackedMatrix fours(
      {.name = "w", .dtype = DType::kQ4_0, .shape = shape, .bytes = std::as_bytes(std::span(q4))}, pool);
  for (const float sign : {1.0F, -1.0F}) {
    const std::vector<float> x(30 * kInputs, sign * 127.0F);
    for (const std::size_t rows : {1U, 3U, 20U, 30U}) {
      for (const float y : test::products(eights, x.data(), rows))
        REQUIRE(y == sign * 127.0F * -128.0F * kInputs);
      for (const float y : test::products(fours, x.data(), rows))
        REQUIRE(y == sign * 127.0F * -8.0F * kInputs);
    }
  }
}

TEST_CASE("the largest quants under the largest scales of parts neither saturate nor round") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  INFO(cpu::dispatch_target());
  constexpr std::size_t kOutputs = 16, kInputs = 256;
  weights::BlockQ6_K six{.nibbles = {}, .crumbs = {}, .part_scales = {}, .scale = 0x3C00};  // quants of -32
  std::fill_n(six.part_scales, 16, std::int8_t{-128});
  weights::BlockQ4_K four{.scale = 0x3C00, .minimum = 0x3C00, .parts = {}, .nibbles = {}};
  for (std::size_t part = 0; part < 8; ++part) weights::set_part(four, part, 63, 63);
  std::fill_n(four.nibbles, 128, std::uint8_t{0xFF});
  const std::vector<weights::BlockQ6_K> q6(kOutputs, six);
  const std::vector<weights::BlockQ4_K> q4(kOutputs, four);
  cpu::ThreadPool pool(1);
  const weights::Shape shape = {kOutputs, kInputs};
  const cpu::PackedMatrix sixes(
      {.name = "w", .dtype = DType::kQ6_K, .shape = shape, .bytes = std::as_bytes(std::span(q6))}, pool);
  const cpu::PackedMatrix fours(
      {.name = "w", .dtype = DType::kQ4_K, .shape = shape, .bytes = std::as_bytes(std::span(q4))}, pool);
  for (const float sign : {1.0F, -1.0F}) {
    const std::vector<float> x(30 * kInputs, sign * 127.0F);
    for (const std::size_t rows : {1U, 3U, 20U, 30U}) {
      for (const float y : test::products(sixes, x.data(), rows)) {
        REQUIRE(y == sign * 127.0F * 128.0F * 32.0F * kInputs);
      }
      for (const float y : test::products(fours, x.data(), rows)) {
        REQUIRE(y == sign * 127.0F * (63.0F * 15.0F - 63.0F) * kInputs);
      }
    }
  }
}

TEST_CASE("inputs are quantised to the nearest, halves to even, with the same bits on every target") {
  test::Random random(4);
  std::vector<float> x = test::random_floats(random, cpu::kBlockInputs);
  for (std::size_t i = 0; i < kBlockWeights; ++i) x[i] = static_cast<float>(i) - 15.5F;  // ties
  x[5] = -127.0F;                                                                        // a scale of 1
  std::fill_n(x.begin() + 32, 32, 0.0F);
  std::fill_n(x.begin() + 64, 32, 1e-38F);
  x[96] = std::numeric_limits<float>::infinity();
  x[128] = std::nanf("");
  x[160] = std::nextafter(cpu::kTooLarge, 0.0F);
  x[192] = -cpu::kTooLarge;
  std::fill_n(x.begin() + 224, 32, cpu::kLeastMagnitude);
  for (const std::string& name : cpu::cpu_targets()) {
    INFO(name);
    const test::ForcedTarget target(name);
    cpu::QuantisedInputs q;
    cpu::PairedInputs pairs;
    std::memset(&pairs, 0x55, sizeof(pairs));
    cpu::quantise_inputs(x.data(), cpu::kBlockInputs, q, pairs);
    const bool has_pairs = pairs.evens[0] != 0x5555;
    CHECK(has_pairs == (name != "x86-64-avx512vnni"));
    for (std::size_t b : {0U, 5U, 7U}) {
      const test::NaiveBlock wanted = test::quantise_block(x.data() + b * kBlockWeights);
      REQUIRE(static_cast<double>(q.scales[b]) == wanted.scale);
      std::int32_t sums[2] = {};
      for (std::size_t i = 0; i < kBlockWeights; ++i) {
        REQUIRE(static_cast<double>(q.values[b * kBlockWeights + i]) == wanted.values[i]);
        sums[i / 16] += q.values[b * kBlockWeights + i];
        const std::size_t at = b * kBlockWeights + i;
        if (has_pairs) {
          CHECK((i % 2 == 0 ? pairs.evens : pairs.odds)[at / 4 * 2 + i % 4 / 2] == q.values[at]);
        }
      }
      CHECK(q.half_offsets[2 * b] == -128 * sums[0]);
      CHECK(q.half_offsets[2 * b + 1] == -128 * sums[1]);
      CHECK(q.offsets[b] == -128 * (sums[0] + sums[1]));
      CHECK(q.scaled_sums[b] == q.scales[b] * static_cast<float>(sums[0] + sums[1]));
    }
    CHECK(q.scales[0] == 1.0F);
    CHECK(q.values[0] == -16);  // -15.5
    CHECK(q.values[1] == -14);  // -14.5
    for (const std::size_t b : {1U, 2U, 3U, 4U, 6U}) {
      const auto values = std::span(q.values).subspan(b * kBlockWeights, kBlockWeights);
      CHECK(std::ranges::all_of(values, [](int value) { return value == 0; }));
      CHECK(q.scales[b] == 1.0F);
      CHECK(q.offsets[b] == 0);
    }
    CHECK(std::isnan(q.start));
    cpu::quantise_inputs(x.data(), 3 * kBlockWeights, q, pairs);
    CHECK(q.start == 0.0F);
  }
}

TEST_CASE("a NaN makes its own row's quantised product NaN and no other") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  const DType dtype = GENERATE(DType::kQ8_0, DType::kQ4_0, DType::kQ4_K, DType::kQ6_K);
  const std::size_t inputs = std::max(64U, weights::dtype_info(dtype).block_elements);
  constexpr std::size_t kOutputs = 36;  // two whole panels, and some outputs
  test::Random random(5);
  cpu::ThreadPool pool(1);
  const test::StoredMatrix w(random, dtype, kOutputs, inputs, 0);
  const cpu::PackedMatrix packed(w.tensor, pool);
  const std::size_t rows = GENERATE(15U, 40U);
  std::vector<float> x = test::random_floats(random, rows * inputs);
  const std::vector<float> before = test::products(packed, x.data(), rows);
  x[7 * inputs + 40] = std::nanf("");
  const std::vector<float> after = test::products(packed, x.data(), rows);
  for (std::size_t i = 0; i < after.size(); ++i) {
    REQUIRE((i / kOutputs == 7 ? std::isnan(after[i]) : after[i] == before[i]));
  }
}

TEST_CASE("scales of weights that are zero, subnormal, infinite or NaN act alike on one row and on many") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  INFO(cpu::dispatch_target());
  constexpr std::size_t kOutputs = 192, kInputs = 288, kBlocks = kInputs / kBlockWeights, kRows = 30;
  test::Random random(6);
  cpu::ThreadPool pool(1);
  const test::StoredMatrix w(random, DType::kQ8_0, kOutputs, kInputs, 0);
  std::vector<std::byte> bytes(w.tensor.bytes.begin(), w.tensor.bytes.end());
  // No two of the first four in panels that are multiplied together, and the others apart from them.
  const std::pair<std::size_t, std::uint16_t> scales[] = {{3, 0},        {40, 0x8000},  {70, 0x7C00},
                                                          {100, 0x7E00}, {130, 0x0001}, {131, 0x8001},
                                                          {132, 0x7BFF}, {133, 0xFBFF}};
  for (const auto& [output, scale] : scales) {
    std::memcpy(&bytes[(output * kBlocks + 1) * sizeof(weights::BlockQ8_0)], &scale, sizeof(scale));
  }
  weights::TensorView tensor = w.tensor;
  tensor.bytes = bytes;
  const cpu::PackedMatrix packed(tensor, pool);
  std::vector<float> x = test::random_floats(random, kRows * kInputs);
  // The ends of what has an exponent.
  for (std::size_t i = 0; i < kInputs; ++i) {
    x[i] *= 0x1p-78F;
    x[kInputs + i] *= 0x1p99F;
  }
  const std::vector<float> all = test::products(packed, x.data(), kRows);
  for (std::size_t row = 0; row < kRows; ++row) {
    const std::vector<float> alone = test::products(packed, x.data() + row * kInputs, 1);
    for (std::size_t output = 0; output < kOutputs; ++output) {
      INFO(row << ", " << output << ": " << all[row * kOutputs + output] << " " << alone[output]);
      const bool is_finite = output != 70 && output != 100;
      REQUIRE(std::isfinite(all[row * kOutputs + output]) == is_finite);
      if (is_finite) {
        REQUIRE(test::same_bits(std::span(alone).subspan(output, 1),
                                std::span(all).subspan(row * kOutputs + output, 1)));
      } else {
        REQUIRE(!std::isfinite(alone[output]));
      }
    }
  }
}

TEST_CASE("a part of the quantised panels leaves the other outputs alone") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  test::Random random(6);
  cpu::ThreadPool pool(1);
  const test::StoredMatrix w(random, DType::kQ8_0, 70, 32, 0);
  const cpu::PackedMatrix packed(w.tensor, pool);
  const std::size_t rows = GENERATE(1U, 30U);
  const std::vector<float> x = test::random_floats(random, rows * 32);
  const std::vector<float> all = test::products(packed, x.data(), rows);
  std::vector<float> y(rows * 70, 7.0F);
  cpu::AlignedFloats scratch(cpu::kGemmScratch);
  cpu::QuantisedBuffer quantised(rows, 32);
  const cpu::GemmInputs inputs(x.data(), rows, 32, quantised);
  inputs.quantise_all(pool);
  cpu::gemm_panels(packed, 1, 3, inputs.rows(0, rows), y.data(), scratch.data());
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t output = i % 70;
    REQUIRE(y[i] == (output >= 16 && output < 48 ? all[i] : 7.0F));
  }
}
