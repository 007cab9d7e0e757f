// SPDX-License-Identifier: Apache-2.0
#include "weights/k_quantise.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "weights/float16.h"

namespace ttt::weights {
namespace {

constexpr float kNoError = std::numeric_limits<float>::infinity();  // not yet any

// To the nearest whole number, halves to even. NaN gives `lowest`. Vectorises.
float round_within(float value, float lowest, float highest) {
  constexpr float kRounder = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  value = value > lowest ? value : lowest;
  value = value < highest ? value : highest;
  return (value + kRounder) - kRounder;
}

// Sum of a[i] * b[i] in one fixed order, eight chains that a compiler can keep in vectors.
template <std::size_t kSize>
float dot_product(const float* a, const float* b) {
  float sums[8] = {};
  for (std::size_t i = 0; i < kSize; i += 8) {
    for (std::size_t k = 0; k < 8; ++k) sums[k] += a[i + k] * b[i + k];
  }
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

template <std::size_t kSize>
float sum_of(const float* a) {
  constexpr float kOnes[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                               1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  return dot_product<kSize>(a, kOnes);
}

template <std::size_t kSize>
float largest_magnitude(const float* values) {
  float largest[8] = {};
  for (std::size_t i = 0; i < kSize; i += 8) {
    for (std::size_t k = 0; k < 8; ++k) {
      const float magnitude = std::abs(values[i + k]);
      largest[k] = magnitude > largest[k] ? magnitude : largest[k];
    }
  }
  return *std::max_element(largest, largest + 8);
}

float inverse_or_zero(float value) {
  const float inverse = value == 0.0F ? 0.0F : 1.0F / value;
  return std::isfinite(inverse) ? inverse : 0.0F;
}

// The least F16 that is not below a number that is not negative: a part's scale never needs more than the
// largest whole number.
std::uint16_t f16_at_least(float value) {
  const std::uint16_t bits = float_to_f16(value);
  return f16_to_float(bits) < value ? static_cast<std::uint16_t>(bits + 1) : bits;
}

// The sum of squared errors of a part; infinite where it is not below `limit`, or where one weight is off by
// more than `largest`.
template <std::size_t kSize>
float error_below(const float (&errors)[kSize], float limit, float largest) {
  const float error = dot_product<kSize>(errors, errors);
  return error < limit && largest_magnitude<kSize>(errors) <= largest ? error : kNoError;
}

// ---- Q4_K: quants from 0 to 15, weight = scale * quant - minimum, neither of them negative.

constexpr std::size_t kPartQ4 = BlockQ4_K::kPart;
constexpr float kTopQ4 = 15.0F;
constexpr float kTopPartQ4 = 63.0F;

struct LineFit {
  float scale, minimum;
};

// Parts as the search sees them: y = values - lowest, from 0 to `range`; lowest <= 0.
struct PartQ4 {
  explicit PartQ4(const float* values);
  float plain_scale() const { return range / kTopQ4; }
  LineFit fit() const;
  LineFit fit_rounded(float inverse, float& error) const;

  const float* values;
  float lowest = 0.0F, range = 0.0F;
  float y[kPartQ4];
  float sum_y = 0.0F, sum_yy = 0.0F;
};

PartQ4::PartQ4(const float* from) : values(from) {
  float highest = from[0];
  for (std::size_t i = 0; i < kPartQ4; ++i) {
    lowest = std::min(lowest, from[i]);
    highest = std::max(highest, from[i]);
  }
  range = highest - lowest;
  for (std::size_t i = 0; i < kPartQ4; ++i) y[i] = from[i] - lowest;
  sum_y = sum_of<kPartQ4>(y);
  sum_yy = dot_product<kPartQ4>(y, y);
}

// Rounds y * inverse to quants, then takes the line through them with the least squared error.
LineFit PartQ4::fit_rounded(float inverse, float& error) const {
  float quants[kPartQ4];
  for (std::size_t i = 0; i < kPartQ4; ++i) quants[i] = round_within(y[i] * inverse, 0.0F, kTopQ4);
  constexpr auto kCount = static_cast<float>(kPartQ4);
  const float sum_q = sum_of<kPartQ4>(quants);
  const float sum_qq = dot_product<kPartQ4>(quants, quants);
  const float sum_qy = dot_product<kPartQ4>(quants, y);
  const float spread = kCount * sum_qq - sum_q * sum_q;
  error = kNoError;
  if (!(spread > 0.0F)) return {};
  float scale = (kCount * sum_qy - sum_q * sum_y) / spread;
  float offset = (sum_y - scale * sum_q) / kCount;
  if (offset > -lowest) {  // a minimum below zero: the line through zero instead
    offset = -lowest;
    scale = (sum_qy - offset * sum_q) / sum_qq;
  }
  error = sum_yy + scale * (scale * sum_qq - 2.0F * sum_qy) +
          offset * (kCount * offset - 2.0F * sum_y + 2.0F * scale * sum_q);
  return {scale, -lowest - offset};
}

LineFit PartQ4::fit() const {
  LineFit best{plain_scale(), -lowest};
  if (!(range > 0.0F)) return best;
  float least = kNoError;
  // Fewer steps than 15 leave room at both ends, more cut the outermost weights.
  for (const float steps : {13.6F, 14.2F, 14.6F, 15.0F, 15.4F, 15.8F, 16.3F, 17.0F, 17.8F}) {
    float error;
    const LineFit line = fit_rounded(steps / range, error);
    if (error < least && line.scale > 0.0F) {
      least = error;
      best = line;
    }
  }
  return best;
}

// Chooses whole numbers for the scale and the minimum of a part, given those of the block.
class PartSearchQ4 {
 public:
  PartSearchQ4(const PartQ4& part, float scale, float minimum, float largest_error)
      : part_(part), scale_(scale), minimum_(minimum), largest_error_(largest_error) {}

  void run(const LineFit& start) {
    // Every weight within the range, whatever it costs: never off by more than half a step.
    const float inverse = inverse_or_zero(scale_);
    try_one(std::ceil(part_.plain_scale() * inverse), nearest(-part_.lowest, minimum_));
    const float around_scale = nearest(start.scale, scale_);
    const float around_minimum = nearest(start.minimum, minimum_);
    for (const float scale : {around_scale, around_scale - 1.0F, around_scale + 1.0F}) {
      for (const float minimum : {around_minimum, around_minimum - 1.0F, around_minimum + 1.0F}) {
        try_one(scale, minimum);
      }
    }
  }

  void store(BlockQ4_K& block, std::size_t index) const {
    set_part(block, index, static_cast<unsigned>(best_scale_), static_cast<unsigned>(best_minimum_));
    float quants[kPartQ4], errors[kPartQ4];
    round(best_scale_, best_minimum_, quants, errors);
    for (std::size_t i = 0; i < kPartQ4; ++i)
      set_quant(block, index * kPartQ4 + i, static_cast<int>(quants[i]));
  }

 private:
  static float nearest(float value, float unit) {
    return round_within(value * inverse_or_zero(unit), 0.0F, kTopPartQ4);
  }

  void round(float part_scale, float part_minimum, float (&quants)[kPartQ4], float (&errors)[kPartQ4]) const {
    const float scale = scale_ * part_scale;
    const float minimum = minimum_ * part_minimum;
    const float inverse = inverse_or_zero(scale);
    for (std::size_t i = 0; i < kPartQ4; ++i) {
      quants[i] = round_within((part_.values[i] + minimum) * inverse, 0.0F, kTopQ4);
      errors[i] = (scale * quants[i] - minimum) - part_.values[i];
    }
  }

  void try_one(float part_scale, float part_minimum) {
    part_scale = round_within(part_scale, 0.0F, kTopPartQ4);
    part_minimum = round_within(part_minimum, 0.0F, kTopPartQ4);
    float quants[kPartQ4], errors[kPartQ4];
    round(part_scale, part_minimum, quants, errors);
    const float error = error_below(errors, least_, largest_error_);
    if (error == kNoError) return;
    least_ = error;
    best_scale_ = part_scale;
    best_minimum_ = part_minimum;
  }

  const PartQ4& part_;
  float scale_, minimum_;  // of the block
  float largest_error_;
  float least_ = kNoError;
  float best_scale_ = 0.0F, best_minimum_ = 0.0F;
};

// ---- Q6_K: quants from -32 to 31, weight = scale * quant, scales of either sign.

constexpr std::size_t kPartQ6 = BlockQ6_K::kPart;
constexpr float kBottomQ6 = -32.0F;
constexpr float kTopQ6 = 31.0F;
constexpr float kTopPartQ6 = 127.0F;

// The value of the largest magnitude, the first of several.
float extreme_of(const float* values) {
  float extreme = values[0];
  for (std::size_t i = 1; i < kPartQ6; ++i) {
    if (std::abs(values[i]) > std::abs(extreme)) extreme = values[i];
  }
  return extreme;
}

// The scale with the least squared error that some rounding leads to. The extreme becomes -32 or nearly so.
float fit_scale(const float* values, float extreme) {
  float best = extreme / kBottomQ6;
  float most = 0.0F;  // of what the squared error is lowered by
  for (const float steps : {-30.0F, -30.7F, -31.3F, -31.8F, -32.3F, -32.9F, -33.6F}) {
    float quants[kPartQ6];
    const float inverse = steps / extreme;
    for (std::size_t i = 0; i < kPartQ6; ++i)
      quants[i] = round_within(values[i] * inverse, kBottomQ6, kTopQ6);
    const float sum_qx = dot_product<kPartQ6>(quants, values);
    const float sum_qq = dot_product<kPartQ6>(quants, quants);
    if (sum_qx * sum_qx > most * sum_qq) {
      most = sum_qx * sum_qx / sum_qq;
      best = sum_qx / sum_qq;
    }
  }
  return best;
}

// Chooses a whole number for the scale of a part, given that of the block.
class PartSearchQ6 {
 public:
  PartSearchQ6(const float* values, float scale, float largest_error)
      : values_(values), scale_(scale), largest_error_(largest_error) {}

  void run(float extreme, float start) {
    const float inverse = inverse_or_zero(scale_);
    // Every weight within the range: never off by more than half a step.
    const float plain = std::ceil(std::abs(extreme) / kTopQ6 * inverse);
    try_one(std::copysign(plain, -extreme));
    const float around = round_within(start * inverse, -kTopPartQ6, kTopPartQ6);
    for (const float step : {0.0F, -1.0F, 1.0F, -2.0F, 2.0F}) try_one(around + step);
  }

  void store(BlockQ6_K& block, std::size_t index) const {
    block.part_scales[index] = static_cast<std::int8_t>(best_);
    float quants[kPartQ6], errors[kPartQ6];
    round(best_, quants, errors);
    for (std::size_t i = 0; i < kPartQ6; ++i)
      set_quant(block, index * kPartQ6 + i, static_cast<int>(quants[i]));
  }

 private:
  void round(float part_scale, float (&quants)[kPartQ6], float (&errors)[kPartQ6]) const {
    const float scale = scale_ * part_scale;
    const float inverse = inverse_or_zero(scale);
    for (std::size_t i = 0; i < kPartQ6; ++i) {
      quants[i] = round_within(values_[i] * inverse, kBottomQ6, kTopQ6);
      errors[i] = scale * quants[i] - values_[i];
    }
  }

  void try_one(float part_scale) {
    part_scale = round_within(part_scale, -kTopPartQ6, kTopPartQ6);
    float quants[kPartQ6], errors[kPartQ6];
    round(part_scale, quants, errors);
    const float error = error_below(errors, least_, largest_error_);
    if (error == kNoError) return;
    least_ = error;
    best_ = part_scale;
  }

  const float* values_;
  float scale_;  // of the block
  float largest_error_;
  float least_ = kNoError;
  float best_ = 0.0F;
};

}  // namespace

BlockQ4_K quantise_q4_k(const float* values) {
  constexpr std::size_t kParts = kKBlockWeights / kPartQ4;
  LineFit fits[kParts];
  float largest_scale = 0.0F, largest_minimum = 0.0F;
  for (std::size_t p = 0; p < kParts; ++p) {
    const PartQ4 part(values + p * kPartQ4);
    fits[p] = part.fit();
    largest_scale = std::max({largest_scale, fits[p].scale, part.plain_scale()});
    largest_minimum = std::max({largest_minimum, fits[p].minimum, -part.lowest});
  }
  BlockQ4_K block{.scale = f16_at_least(largest_scale / kTopPartQ4),
                  .minimum = f16_at_least(largest_minimum / kTopPartQ4),
                  .parts = {},
                  .nibbles = {}};
  const double largest = static_cast<double>(largest_magnitude<kKBlockWeights>(values));
  for (std::size_t p = 0; p < kParts; ++p) {
    const PartQ4 part(values + p * kPartQ4);
    PartSearchQ4 search(part, f16_to_float(block.scale), f16_to_float(block.minimum),
                        static_cast<float>(k_type_error(DType::kQ4_K, largest)));
    search.run(fits[p]);
    search.store(block, p);
  }
  return block;
}

BlockQ6_K quantise_q6_k(const float* values) {
  constexpr std::size_t kParts = kKBlockWeights / kPartQ6;
  float extremes[kParts], fits[kParts];
  float largest = 0.0F, largest_scale = 0.0F;
  for (std::size_t p = 0; p < kParts; ++p) {
    extremes[p] = extreme_of(values + p * kPartQ6);
    fits[p] = fit_scale(values + p * kPartQ6, extremes[p]);
    largest = std::max(largest, std::abs(extremes[p]));
    largest_scale = std::max({largest_scale, std::abs(fits[p]), std::abs(extremes[p]) / kTopQ6});
  }
  BlockQ6_K block{
      .nibbles = {}, .crumbs = {}, .part_scales = {}, .scale = f16_at_least(largest_scale / kTopPartQ6)};
  const double largest_error = k_type_error(DType::kQ6_K, static_cast<double>(largest));
  for (std::size_t p = 0; p < kParts; ++p) {
    PartSearchQ6 search(values + p * kPartQ6, f16_to_float(block.scale), static_cast<float>(largest_error));
    search.run(extremes[p], fits[p]);
    search.store(block, p);
  }
  return block;
}

double k_type_error(DType dtype, double largest) {
  constexpr double kF16Smallest = 0x1p-24;
  return (dtype == DType::kQ4_K ? 2.0 / 15.0 : 1.0 / 32.0) * largest + kF16Smallest;
}

}  // namespace ttt::weights
