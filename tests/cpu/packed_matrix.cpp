// SPDX-License-Identifier: Apache-2.0
#include "cpu/packed_matrix.h"

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/cpu/stored_matrix.h"
#include "tests/random.h"

using namespace ttt;
using weights::DType;

TEST_CASE("every weight is read back from its place, for every type, shape and alignment") {
  test::Random random(1);
  const DType dtype = GENERATE(DType::kF32, DType::kF16, DType::kBF16);
  const std::size_t shift = GENERATE(0U, 1U, 2U);
  const std::size_t outputs = GENERATE(1U, 15U, 16U, 17U, 40U);
  const std::size_t inputs = GENERATE(1U, 15U, 16U, 37U, 256U, 300U);
  const test::StoredMatrix stored(random, dtype, outputs, inputs, shift);
  cpu::ThreadPool pool(2);
  const cpu::PackedMatrix packed(stored.tensor, pool);
  REQUIRE(packed.num_outputs() == outputs);
  REQUIRE(packed.num_inputs() == inputs);
  CHECK(packed.bytes() == (outputs + 15) / 16 * 16 * inputs * weights::dtype_info(dtype).block_bytes);
  std::vector<float> row(inputs);
  for (std::size_t output = 0; output < outputs; ++output) {
    packed.read_output(output, row.data());
    REQUIRE(std::memcmp(row.data(), stored.values.data() + output * inputs, inputs * sizeof(float)) == 0);
  }
}

TEST_CASE("every quantised weight is read back from its place") {
  test::Random random(4);
  const DType dtype = GENERATE(DType::kQ8_0, DType::kQ4_0);
  const std::size_t outputs = GENERATE(1U, 15U, 16U, 17U, 40U);
  const std::size_t inputs = GENERATE(32U, 96U, 256U, 320U);
  const test::StoredMatrix stored(random, dtype, outputs, inputs, random.below(3));
  cpu::ThreadPool pool(2);
  const cpu::PackedMatrix packed(stored.tensor, pool);
  const std::size_t blocks = (inputs / 32 + 1) / 2 * 2;  // in twos
  CHECK(packed.bytes() == (outputs + 15) / 16 * 16 * blocks * weights::dtype_info(dtype).block_bytes);
  CHECK(cpu::PackedMatrix::planned_bytes(stored.tensor) == packed.bytes());
  std::vector<float> row(inputs);
  for (std::size_t output = 0; output < outputs; ++output) {
    packed.read_output(output, row.data());
    REQUIRE(std::memcmp(row.data(), stored.values.data() + output * inputs, inputs * sizeof(float)) == 0);
  }
}

TEST_CASE("every weight in a block of 256 is read back from its place") {
  test::Random random(5);
  const DType dtype = GENERATE(DType::kQ4_K, DType::kQ6_K);
  const std::size_t outputs = GENERATE(1U, 15U, 16U, 17U, 40U);
  const std::size_t inputs = GENERATE(256U, 768U);
  const test::StoredMatrix stored(random, dtype, outputs, inputs, random.below(3));
  cpu::ThreadPool pool(2);
  const cpu::PackedMatrix packed(stored.tensor, pool);
  CHECK(packed.bytes() == (outputs + 15) / 16 * 16 * inputs / 256 * weights::dtype_info(dtype).block_bytes);
  CHECK(cpu::PackedMatrix::planned_bytes(stored.tensor) == packed.bytes());
  std::vector<float> row(inputs);
  for (std::size_t output = 0; output < outputs; ++output) {
    packed.read_output(output, row.data());
    REQUIRE(std::memcmp(row.data(), stored.values.data() + output * inputs, inputs * sizeof(float)) == 0);
  }
}

TEST_CASE("outputs that do not exist are zeros") {
  test::Random random(2);
  const test::StoredMatrix stored(random, DType::kF32, 18, 5, 0);
  cpu::ThreadPool pool(1);
  const cpu::PackedMatrix packed(stored.tensor, pool);
  REQUIRE(packed.num_panels() == 2);
  for (std::size_t input = 0; input < 5; ++input) {
    for (std::size_t output = 2; output < 16; ++output) {
      float value = 1.0F;
      std::memcpy(&value, packed.panel(1) + (input * 16 + output) * sizeof(float), sizeof(float));
      REQUIRE(value == 0.0F);
    }
  }
}

TEST_CASE("a matrix begins at a cache line, and a large one at a large page") {
  test::Random random(3);
  cpu::ThreadPool pool(1);
  const test::StoredMatrix small(random, DType::kBF16, 3, 3, 1);
  CHECK(reinterpret_cast<std::uintptr_t>(cpu::PackedMatrix(small.tensor, pool).panel(0)) % 64 == 0);
  const test::StoredMatrix large(random, DType::kF32, 1024, 600, 1);
  CHECK(reinterpret_cast<std::uintptr_t>(cpu::PackedMatrix(large.tensor, pool).panel(0)) % (1U << 21) == 0);
}

TEST_CASE("an absent matrix has no outputs") {
  const cpu::PackedMatrix absent;
  CHECK(absent.num_outputs() == 0);
  CHECK(absent.num_panels() == 0);
  CHECK(absent.bytes() == 0);
}
