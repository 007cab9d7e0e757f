// SPDX-License-Identifier: Apache-2.0
// The shared vector code, compiled here for every target, and called for every length.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/simd_targets.h"
#include "tests/cpu/forced_target.h"
#include "tests/naive.h"
#include "tests/random.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/cpu/simd.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {
namespace {

enum class Function { kExp, kSigmoid, kSilu, kGelu, kGeluDerivative };

HWY_INLINE V apply(Function function, V x) {
  switch (function) {
    case Function::kExp:
      return exp(x);
    case Function::kSigmoid:
      return sigmoid(x);
    case Function::kSilu:
      return silu(x);
    case Function::kGelu:
      return gelu(x);
    default:
      return gelu_and_derivative(x).derivative;
  }
}

void apply_to(int function, const float* x, std::size_t size, float* out) {
  for (std::size_t i = 0; i < size; i += kLanes) {
    const std::size_t n = at_most(size - i, kLanes);
    store(apply(static_cast<Function>(function), load(x + i, n)), out + i, n);
  }
}

float dot_of(const float* a, const float* b, std::size_t size) { return dot(a, b, size); }
float sum_of(const float* a, std::size_t size) { return sum(a, size); }

}  // namespace
}  // namespace ttt::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ttt::cpu {
namespace {

HWY_EXPORT(apply_to);
HWY_EXPORT(dot_of);
HWY_EXPORT(sum_of);

enum { kExp, kSigmoid, kSilu, kGelu, kGeluDerivative };  // as Function above

std::vector<float> all_of(int function, const std::vector<float>& x) {
  std::vector<float> out(x.size());
  HWY_DYNAMIC_DISPATCH(apply_to)(function, x.data(), x.size(), out.data());
  return out;
}

float one_of(int function, float x) { return all_of(function, {x})[0]; }

std::vector<float> range(double first, double last, double step) {
  std::vector<float> x;
  for (double value = first; value < last; value += step) x.push_back(static_cast<float>(value));
  return x;
}

}  // namespace

TEST_CASE("exp is within 2 ulp over its whole range") {
  const test::ForcedTarget target(GENERATE(from_range(cpu_targets())));
  INFO(dispatch_target());
  const std::vector<float> x = range(-87.0, 88.0, 0.00137);
  const std::vector<float> y = all_of(kExp, x);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    const double ulp = std::ldexp(1.0, std::ilogb(exact) - 23);
    REQUIRE(std::abs(static_cast<double>(y[i]) - exact) <= 2.0 * ulp);
  }
}

TEST_CASE("exp is exact at 0 and finite everywhere") {
  const test::ForcedTarget target(GENERATE(from_range(cpu_targets())));
  INFO(dispatch_target());
  CHECK(one_of(kExp, 0.0F) == 1.0F);
  CHECK(one_of(kExp, -0.0F) == 1.0F);
  for (const float x : {-1e30F, 1e30F, std::numeric_limits<float>::infinity(),
                        -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    CHECK(std::isfinite(one_of(kExp, x)));
  }
  CHECK(std::isnan(one_of(kSilu, std::numeric_limits<float>::quiet_NaN())));
  CHECK(std::isnan(one_of(kGelu, std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("sigmoid, SiLU, GELU and its derivative follow the oracle") {
  const test::ForcedTarget target(GENERATE(from_range(cpu_targets())));
  INFO(dispatch_target());
  const std::vector<float> x = range(-40.0, 40.0, 0.0037);
  const auto sigmoid = all_of(kSigmoid, x), silu = all_of(kSilu, x), gelu = all_of(kGelu, x),
             derivative = all_of(kGeluDerivative, x);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto exact = static_cast<double>(x[i]);
    // 4 roundings of values up to |a|: 5e-7 relative to the larger of 1 and |a|.
    const double tolerance = 5e-7 * std::max(1.0, std::abs(exact));
    REQUIRE(std::abs(static_cast<double>(sigmoid[i]) - naive::sigmoid(exact)) <= 3e-7);
    REQUIRE(std::abs(static_cast<double>(silu[i]) - naive::silu(exact)) <= tolerance);
    REQUIRE(std::abs(static_cast<double>(gelu[i]) - naive::gelu(exact)) <= tolerance);
    REQUIRE(std::abs(static_cast<double>(derivative[i]) - naive::gelu_derivative(exact)) <= 2e-6);
  }
}

TEST_CASE("a saturated gate stays finite and exact in both tails") {
  const test::ForcedTarget target(GENERATE(from_range(cpu_targets())));
  INFO(dispatch_target());
  CHECK(one_of(kSigmoid, 100.0F) == 1.0F);
  CHECK(one_of(kSigmoid, -100.0F) >= 0.0F);
  CHECK(one_of(kSigmoid, -100.0F) < 1e-37F);
  CHECK(one_of(kGelu, 1e10F) == 1e10F);
  CHECK(std::abs(one_of(kGelu, -1e10F)) < 1e-20F);
  CHECK(one_of(kGeluDerivative, 1e6F) == 1.0F);
  CHECK(std::abs(one_of(kGeluDerivative, -1e6F)) < 1e-20F);
}

TEST_CASE("a value has the same bits in every lane and in the tail") {
  const test::ForcedTarget target(GENERATE(from_range(cpu_targets())));
  INFO(dispatch_target());
  const std::vector<float> x = range(-9.0, 9.0, 0.26);
  for (int function = kExp; function <= kGeluDerivative; ++function) {
    const std::vector<float> all = all_of(function, x);
    for (std::size_t i = 0; i < x.size(); ++i) REQUIRE(one_of(function, x[i]) == all[i]);
  }
}

TEST_CASE("dot products and sums are right for every length and alignment") {
  const test::ForcedTarget target(GENERATE(from_range(cpu_targets())));
  INFO(dispatch_target());
  test::Random random(1);
  for (std::size_t size = 0; size <= 140; ++size) {
    for (std::size_t shift = 0; shift < 4; ++shift) {
      std::vector<float> a(size + shift), b(size);  // exactly: a load beyond them is found
      for (float& value : a) value = static_cast<float>(random.symmetric());
      for (float& value : b) value = static_cast<float>(random.symmetric());
      double dot = 0.0;
      double sum = 0.0;
      for (std::size_t i = 0; i < size; ++i) {
        dot += static_cast<double>(a[i + shift]) * static_cast<double>(b[i]);
        sum += static_cast<double>(a[i + shift]);
      }
      REQUIRE(std::abs(static_cast<double>(HWY_DYNAMIC_DISPATCH(dot_of)(a.data() + shift, b.data(), size)) -
                       dot) < 2e-5);
      REQUIRE(std::abs(static_cast<double>(HWY_DYNAMIC_DISPATCH(sum_of)(a.data() + shift, size)) - sum) <
              4e-5);
    }
  }
}

}  // namespace ttt::cpu
#endif  // HWY_ONCE
