// SPDX-License-Identifier: Apache-2.0
#include "cpu/vector_math.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/naive.h"
#include "tests/random.h"

using namespace ttt;

TEST_CASE("exp is within 2 ulp over its whole range") {
  for (double x = -87.0; x < 88.0; x += 0.00137) {
    const auto argument = static_cast<float>(x);
    const double exact = std::exp(static_cast<double>(argument));
    const double ulp = std::ldexp(1.0, std::ilogb(exact) - 23);
    REQUIRE(std::abs(static_cast<double>(cpu::exp(argument)) - exact) <= 2.0 * ulp);
  }
}

TEST_CASE("exp is exact at 0 and finite everywhere") {
  CHECK(cpu::exp(0.0F) == 1.0F);
  CHECK(cpu::exp(-0.0F) == 1.0F);
  for (const float x :
       {-1e30F, 1e30F, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    CHECK(std::isfinite(cpu::exp(x)));
  }
}

TEST_CASE("sigmoid, SiLU, GELU and its derivative follow the oracle") {
  for (double x = -40.0; x < 40.0; x += 0.0037) {
    const auto a = static_cast<float>(x);
    const auto exact = static_cast<double>(a);
    // 4 roundings of values up to |a|: 5e-7 relative to the larger of 1 and |a|.
    const double tolerance = 5e-7 * std::max(1.0, std::abs(exact));
    REQUIRE(std::abs(static_cast<double>(cpu::sigmoid(a)) - naive::sigmoid(exact)) <= 3e-7);
    REQUIRE(std::abs(static_cast<double>(cpu::silu(a)) - naive::silu(exact)) <= tolerance);
    REQUIRE(std::abs(static_cast<double>(cpu::gelu(a)) - naive::gelu(exact)) <= tolerance);
    REQUIRE(std::abs(static_cast<double>(cpu::gelu_derivative(a)) - naive::gelu_derivative(exact)) <= 2e-6);
  }
}

TEST_CASE("a saturated gate stays finite and exact in both tails") {
  CHECK(cpu::sigmoid(100.0F) == 1.0F);
  CHECK(cpu::sigmoid(-100.0F) >= 0.0F);
  CHECK(cpu::sigmoid(-100.0F) < 1e-37F);
  CHECK(cpu::gelu(1e10F) == 1e10F);
  CHECK(std::abs(cpu::gelu(-1e10F)) < 1e-20F);
  CHECK(cpu::gelu_derivative(1e6F) == 1.0F);
  CHECK(std::abs(cpu::gelu_derivative(-1e6F)) < 1e-20F);
}

TEST_CASE("dot products and sums are right for every length and alignment") {
  test::Random random(1);
  std::vector<float> a(80);
  std::vector<float> b(80);
  for (float& value : a) value = static_cast<float>(random.symmetric());
  for (float& value : b) value = static_cast<float>(random.symmetric());
  for (std::size_t size = 0; size <= 70; ++size) {
    for (std::size_t shift = 0; shift < 4; ++shift) {
      double dot = 0.0;
      double sum = 0.0;
      for (std::size_t i = 0; i < size; ++i) {
        dot += static_cast<double>(a[i + shift]) * static_cast<double>(b[i]);
        sum += static_cast<double>(a[i + shift]);
      }
      REQUIRE(std::abs(static_cast<double>(cpu::dot(a.data() + shift, b.data(), size)) - dot) < 2e-5);
      REQUIRE(std::abs(static_cast<double>(cpu::sum(a.data() + shift, size)) - sum) < 2e-5);
    }
  }
}
