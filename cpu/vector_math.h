// SPDX-License-Identifier: Apache-2.0
// Sums and elementary functions with one fixed order of operations, so that a value has the same bits
// wherever and however often it is computed. No libm per token: its functions differ between machines.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace ttt::cpu {

// Eight partial sums; the compiler lowers the type to whatever the machine has.
using Lanes = float __attribute__((vector_size(32)));
inline constexpr std::size_t kLanes = 8;

inline void load_lanes(const float* from, Lanes& to) { std::memcpy(&to, from, sizeof(to)); }

inline float sum_lanes(const Lanes& v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

// Sum over i of a[i] * b[i]: term i goes to partial sum i mod 8.
inline float dot(const float* a, const float* b, std::size_t size) {
  Lanes sums{};
  std::size_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    Lanes x;
    Lanes y;
    load_lanes(a + i, x);
    load_lanes(b + i, y);
    sums += x * y;
  }
  for (std::size_t lane = 0; i < size; ++i, ++lane) sums[lane] += a[i] * b[i];
  return sum_lanes(sums);
}

inline float sum(const float* a, std::size_t size) {
  Lanes sums{};
  std::size_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    Lanes x;
    load_lanes(a + i, x);
    sums += x;
  }
  for (std::size_t lane = 0; i < size; ++i, ++lane) sums[lane] += a[i];
  return sum_lanes(sums);
}

// y += scale * x
inline void add_scaled(float scale, const float* __restrict x, float* __restrict y, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) y[i] += scale * x[i];
}

// e^x within 2 ulp for x in [-87, 88]; beyond, the value at that end: never 0, never infinite. NaN gives the
// value at -87: what multiplies it (x in silu and gelu) carries the NaN on.
inline float exp(float x) {
  constexpr float kLowest = -87.0F;
  constexpr float kHighest = 88.0F;
  constexpr float kRounder = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  x = x > kLowest ? x : kLowest;           // NaN too: the conversion below must stay defined
  x = x < kHighest ? x : kHighest;
  const float n = (x * 1.44269504F + kRounder) - kRounder;
  const float r = (x - n * 0.693359375F) + n * 2.12194440e-4F;  // ln 2 in two parts; |r| <= 0.347
  // Taylor to r^7: the rest is below 6e-9.
  float p = 1.0F / 5040.0F;
  p = p * r + 1.0F / 720.0F;
  p = p * r + 1.0F / 120.0F;
  p = p * r + 1.0F / 24.0F;
  p = p * r + 1.0F / 6.0F;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const auto exponent = static_cast<std::uint32_t>(static_cast<std::int32_t>(n) + 127) << 23;
  return p * std::bit_cast<float>(exponent);
}

inline float sigmoid(float x) { return 1.0F / (1.0F + exp(-x)); }

inline float silu(float x) { return x * sigmoid(x); }

// GELU in its tanh form, 0.5 a (1 + tanh u) = a sigmoid(2u), u = sqrt(2/pi) (a + 0.044715 a^3).
inline constexpr float kTwoSqrt2OverPi = 1.595769122F;
inline constexpr float kGeluCubic = 0.044715F;

inline float gelu(float a) { return a * sigmoid(kTwoSqrt2OverPi * (a + kGeluCubic * a * a * a)); }

// d gelu(a) / da = s + a s (1 - s) d(2u)/da
inline float gelu_derivative(float a) {
  const float s = sigmoid(kTwoSqrt2OverPi * (a + kGeluCubic * a * a * a));
  return s + a * (s * (1.0F - s)) * (kTwoSqrt2OverPi * (1.0F + 3.0F * kGeluCubic * a * a));
}

}  // namespace ttt::cpu
