// SPDX-License-Identifier: Apache-2.0
#include "weights/k_quantise.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "tests/random.h"
#include "weights/element_type.h"

namespace ttt::weights {
namespace {

// What weights look like: `kind` chooses.
std::vector<float> k_test_values(test::Random& random, const std::string& kind, std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    double value = 0.0;
    for (int k = 0; k < 12; ++k) value += 0.5 * random.symmetric();  // nearly normal, deviation 1
    if (kind == "heavy tails") value *= std::exp(1.2 * random.symmetric());
    if (kind == "uniform") value = random.symmetric();
    if (kind == "positive") value = std::abs(value);
    if (kind == "shifted") value -= 3.0;
    if (kind == "parts of many sizes") value *= std::exp(0.7 * static_cast<double>(i / 16 % 9));
    if (kind == "one outlier" && i % 256 == 77) value = 40.0;
    values[i] = static_cast<float>(0.02 * value);
  }
  return values;
}

const std::vector<std::string>& k_test_kinds() {
  static const std::vector<std::string> kinds = {"normal",  "heavy tails",         "uniform",    "positive",
                                                 "shifted", "parts of many sizes", "one outlier"};
  return kinds;
}

std::vector<float> through(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> bytes(*tensor_bytes(dtype, {values.size()}));
  from_floats(dtype, values, bytes);
  std::vector<float> back(values.size());
  to_floats(dtype, bytes, back);
  return back;
}

double squared_error(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double error = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += error * error;
  }
  return sum;
}

double rounded_error(double value, double scale, double minimum, double lowest, double highest) {
  const double quant =
      scale == 0.0 ? 0.0 : std::clamp(std::nearbyint((value + minimum) / scale), lowest, highest);
  return scale * quant - minimum - value;
}

// The least error of a part for any whole numbers from `first` to 63 and 0 to `last`, in float64.
double best_part(const float* values, std::size_t count, double scale, double minimum, int lowest_scale,
                 int highest_scale, int highest_minimum, double lowest, double highest) {
  double best = std::numeric_limits<double>::infinity();
  for (int s = lowest_scale; s <= highest_scale; ++s) {
    for (int m = 0; m <= highest_minimum; ++m) {
      double sum = 0.0;
      for (std::size_t i = 0; i < count && sum < best; ++i) {
        const double error =
            rounded_error(static_cast<double>(values[i]), s * scale, m * minimum, lowest, highest);
        sum += error * error;
      }
      best = std::min(best, sum);
    }
  }
  return best;
}

// Scales and minimums of the block are tried around what its widest part needs, those of the parts all.
double best_q4_k(const float* values) {
  double range = 0.0, below = 0.0;
  for (std::size_t p = 0; p < 8; ++p) {
    const auto [low, high] = std::minmax_element(values + 32 * p, values + 32 * p + 32);
    range = std::max(range, static_cast<double>(std::max(*high, 0.0F) - std::min(*low, 0.0F)));
    below = std::max(below, static_cast<double>(-*low));
  }
  double best = std::numeric_limits<double>::infinity();
  for (const double wide : {0.9, 0.96, 1.0}) {
    for (const double deep : {0.9, 0.96, 1.0}) {
      double sum = 0.0;
      for (std::size_t p = 0; p < 8; ++p) {
        sum += best_part(values + 32 * p, 32, wide * range / 15.0 / 63.0, deep * below / 63.0, 0, 63,
                         below > 0.0 ? 63 : 0, 0.0, 15.0);
      }
      best = std::min(best, sum);
    }
  }
  return best;
}

double best_q6_k(const float* values) {
  double largest = 0.0;
  for (std::size_t i = 0; i < 256; ++i) largest = std::max(largest, std::abs(static_cast<double>(values[i])));
  double best = std::numeric_limits<double>::infinity();
  for (const double wide : {0.95, 0.97, 0.98, 0.99, 1.0, 1.01, 1.02, 1.03}) {
    double sum = 0.0;
    for (std::size_t p = 0; p < 16; ++p) {
      sum += best_part(values + 16 * p, 16, wide * largest / 32.0 / 127.0, 0.0, -127, 127, 0, -32.0, 31.0);
    }
    best = std::min(best, sum);
  }
  return best;
}

}  // namespace

TEST_CASE("K types: a tensor's error is near the least that an exhaustive search in float64 finds") {
  test::Random random(1);
  const std::string kind = GENERATE(from_range(k_test_kinds()));
  const std::vector<float> values = k_test_values(random, kind, 4 * 256);
  double best_4 = 0.0, best_6 = 0.0;
  for (std::size_t first = 0; first < values.size(); first += 256) {
    best_4 += best_q4_k(values.data() + first);
    best_6 += best_q6_k(values.data() + first);
  }
  const double q4 = squared_error(through(DType::kQ4_K, values), values);
  const double q6 = squared_error(through(DType::kQ6_K, values), values);
  CAPTURE(kind, q4 / best_4, q6 / best_6);
  // Of squares: 3 % of the error itself. The search in float64 tries few scales of a block: it can be beaten.
  CHECK(q4 <= 1.06 * best_4);
  CHECK(q6 <= 1.06 * best_6);
  CHECK(q4 >= 0.9 * best_4);
  CHECK(q6 >= 0.9 * best_6);
  CHECK(q4 < squared_error(through(DType::kQ4_0, values), values));
  CHECK(q6 < 0.2 * q4);
}

TEST_CASE("K types: no weight is off by more than the bound, whatever its block's magnitudes") {
  test::Random random(2);
  for (const DType dtype : {DType::kQ4_K, DType::kQ6_K}) {
    for (int round = 0; round < 2000; ++round) {
      const std::size_t kind = random.below(k_test_kinds().size());
      std::vector<float> values = k_test_values(random, k_test_kinds()[kind], 256);
      const double magnitude = std::exp(10.0 * (random.symmetric() - 0.8));
      double largest = 0.0;
      for (float& value : values) {
        value = static_cast<float>(magnitude * static_cast<double>(value));
        largest = std::max(largest, std::abs(static_cast<double>(value)));
      }
      const std::vector<float> back = through(dtype, values);
      double worst = 0.0;
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (!std::isfinite(back[i])) continue;  // beyond F16: refused when it is written
        worst = std::max(worst, std::abs(static_cast<double>(back[i]) - static_cast<double>(values[i])));
      }
      CAPTURE(dtype_info(dtype).name, k_test_kinds()[kind], largest);
      REQUIRE(worst <= 1.0001 * k_type_error(dtype, largest));
    }
  }
}

TEST_CASE("K types: values that a block holds exactly stay what they are") {
  std::vector<float> values(256);
  for (std::size_t i = 0; i < 256; ++i) values[i] = static_cast<float>(i % 16) - 5.0F;
  // 63 of these scales make 1: 1/63 is no F16, so each weight may lose what rounding the scale costs.
  for (const float error :
       {through(DType::kQ4_K, values)[7] - 2.0F, through(DType::kQ6_K, values)[7] - 2.0F}) {
    CHECK(std::abs(error) <= 0.04F);
  }
  const std::vector<float> zeros(256, 0.0F);
  CHECK(through(DType::kQ4_K, zeros) == zeros);
  CHECK(through(DType::kQ6_K, zeros) == zeros);
  const std::vector<float> equal(256, -63.0F);  // a minimum alone: no range
  CHECK(through(DType::kQ4_K, equal) == equal);
}

TEST_CASE("K types: weights of the size of the smallest F16 are kept as well as F16 can") {
  test::Random random(3);
  std::vector<float> values(256);
  for (float& value : values) value = static_cast<float>(1e-5 * random.symmetric());
  const double size = squared_error(values, std::vector<float>(256, 0.0F));
  CHECK(squared_error(through(DType::kQ4_K, values), values) < 0.01 * size);
  CHECK(squared_error(through(DType::kQ6_K, values), values) < 0.002 * size);
}

TEST_CASE("K types: values that are not finite, or that no scale holds, do not come back as finite ones") {
  for (const DType dtype : {DType::kQ4_K, DType::kQ6_K}) {
    for (const float bad : {3e38F, 1e15F, -1e15F}) {
      std::vector<float> values(256, 0.5F);
      values[100] = bad;
      CAPTURE(dtype_info(dtype).name, bad);
      CHECK_FALSE(std::isfinite(through(dtype, values)[100]));
    }
    for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
      std::vector<float> values(256, 0.5F);
      values[100] = bad;
      CHECK(through(dtype, values).size() == 256);  // some block: conversion looks at the values themselves
    }
  }
}

}  // namespace ttt::weights
