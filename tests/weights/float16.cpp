// SPDX-License-Identifier: Apache-2.0
#include "weights/float16.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

namespace ttt::weights {
namespace {

// The definition of a small float with these fields, in double: exact for both formats.
double defined_value(std::uint32_t bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = (bits >> (exponent_bits + mantissa_bits)) != 0 ? -1.0 : 1.0;
  const int exponent = static_cast<int>((bits >> mantissa_bits) & ((1U << exponent_bits) - 1));
  const double fraction = std::ldexp(static_cast<double>(bits & ((1U << mantissa_bits) - 1)), -mantissa_bits);
  if (exponent == (1 << exponent_bits) - 1) {
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity()
                         : std::numeric_limits<double>::quiet_NaN();
  }
  return exponent == 0 ? sign * std::ldexp(fraction, 1 - bias)
                       : sign * std::ldexp(1 + fraction, exponent - bias);
}

struct Format {
  int exponent_bits;
  int mantissa_bits;
  float (*widen)(std::uint16_t);
  std::uint16_t (*narrow)(float);
  std::uint32_t num_finite;  // positive finite numbers, zero among them; the next is infinity
};

const Format kFormats[] = {
    {5, 10, f16_to_float, float_to_f16, 0x7c00},
    {8, 7, bf16_to_float, float_to_bf16, 0x7f80},
};

TEST_CASE("float16: each of the 65536 patterns widens to its definition and comes back") {
  for (const Format& format : kFormats) {
    int wrong = 0;
    for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
      const auto pattern = static_cast<std::uint16_t>(bits);
      const double expected = defined_value(bits, format.exponent_bits, format.mantissa_bits);
      const float value = format.widen(pattern);
      const std::uint16_t back = format.narrow(value);
      if (std::isnan(expected)) {
        const bool same_sign = ((back ^ pattern) & 0x8000) == 0;
        wrong += std::isnan(value) && std::isnan(format.widen(back)) && same_sign ? 0 : 1;
      } else {
        const bool same =
            static_cast<double>(value) == expected && std::signbit(value) == std::signbit(expected);
        wrong += same && back == pattern ? 0 : 1;
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("float16: between all neighbours the nearer is taken, and the even one at a tie") {
  for (const Format& format : kFormats) {
    int wrong = 0;
    for (std::uint32_t bits = 0; bits < format.num_finite; ++bits) {
      const auto low = static_cast<std::uint16_t>(bits);
      const auto high = static_cast<std::uint16_t>(bits + 1);
      const double low_value = defined_value(bits, format.exponent_bits, format.mantissa_bits);
      // Behind the largest finite number the next step would be where infinity stands.
      const double step =
          bits + 1 == format.num_finite
              ? low_value - defined_value(bits - 1, format.exponent_bits, format.mantissa_bits)
              : defined_value(bits + 1, format.exponent_bits, format.mantissa_bits) - low_value;
      const auto middle = static_cast<float>(low_value + step / 2);
      const std::uint16_t even = (bits & 1U) == 0 ? low : high;
      const auto sign = static_cast<std::uint16_t>(0x8000);
      wrong += format.narrow(middle) == even ? 0 : 1;
      wrong += format.narrow(std::nextafter(middle, 0.0F)) == low ? 0 : 1;
      wrong += format.narrow(std::nextafter(middle, INFINITY)) == high ? 0 : 1;
      wrong += format.narrow(-middle) == (even | sign) ? 0 : 1;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("float16: a float beyond the range becomes infinity, the smallest become zero") {
  CHECK(float_to_f16(65519.996F) == 0x7bff);
  CHECK(float_to_f16(65520.0F) == 0x7c00);
  CHECK(float_to_f16(std::numeric_limits<float>::max()) == 0x7c00);
  CHECK(float_to_f16(-INFINITY) == 0xfc00);
  CHECK(float_to_f16(std::numeric_limits<float>::denorm_min()) == 0);
  CHECK(float_to_f16(-std::numeric_limits<float>::denorm_min()) == 0x8000);
  CHECK(float_to_bf16(std::numeric_limits<float>::max()) == 0x7f80);
  CHECK(float_to_bf16(-INFINITY) == 0xff80);
  CHECK(float_to_bf16(std::numeric_limits<float>::denorm_min()) == 0);
}

TEST_CASE("float16: a NaN whose payload lies in the lost bits stays a NaN") {
  const auto payload = std::bit_cast<float>(0x7f800001U);
  CHECK(std::isnan(bf16_to_float(float_to_bf16(payload))));
  CHECK(std::isnan(f16_to_float(float_to_f16(payload))));
}

}  // namespace
}  // namespace ttt::weights
