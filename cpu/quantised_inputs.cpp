// SPDX-License-Identifier: Apache-2.0
#include "cpu/quantised_inputs.h"

#include <bit>
#include <limits>
#include <numeric>

#define TTT_WITH_VNNI
#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/quantised_inputs.cpp"
#include <hwy/foreach_target.h>

#include "cpu/pairs-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {
namespace {

constexpr std::size_t kBlocks = QuantisedInputs::kBlocks;

// What quantises a block: values are multiplied by it and rounded.
struct Factors {
  alignas(64) float factors[kBlocks];
  bool is_finite[kBlocks];
};

// The largest magnitude of 32 values, as the integer with its bits: these are in order, with NaN above
// infinity.
std::int32_t largest_magnitude(const float* x) {
  const hn::RebindToSigned<D> integers;
  auto magnitudes = hn::Zero(integers);
  for (std::size_t i = 0; i < weights::kBlockWeights; i += kLanes) {
    const auto bits = hn::BitCast(integers, hn::LoadU(D(), x + i));
    magnitudes = hn::Max(magnitudes, hn::And(bits, hn::Set(integers, 0x7FFFFFFF)));
  }
  return hn::GetLane(hn::MaxOfLanes(integers, magnitudes));
}

// The next scale that has kScaleBits bits behind the leading one.
float round_up_scale(float scale) {
  constexpr std::uint32_t kBelow = (1U << (23 - kScaleBits)) - 1;
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(scale) + kBelow) & ~kBelow);
}

Factors scale_blocks(const float* x, std::size_t num_blocks, QuantisedInputs& to) {
  Factors result;
  to.start = 0.0F;
  for (std::size_t b = 0; b < num_blocks; ++b) {
    const std::int32_t bits = largest_magnitude(x + b * weights::kBlockWeights);
    const auto largest = std::bit_cast<float>(bits);
    result.is_finite[b] = bits < std::bit_cast<std::int32_t>(kTooLarge);
    if (!result.is_finite[b]) to.start = std::numeric_limits<float>::quiet_NaN();
    const bool is_zero = !result.is_finite[b] || largest < kLeastMagnitude;
    to.scales[b] = is_zero ? 1.0F : round_up_scale(largest / 127.0F);
    result.factors[b] = is_zero ? 0.0F : 1.0F / to.scales[b];
  }
  return result;
}

void sum_values(std::size_t num_blocks, QuantisedInputs& to) {
  for (std::size_t half = 0; half < 2 * num_blocks; ++half) {
    const std::int8_t* const values = to.values + half * (weights::kBlockWeights / 2);
#if HWY_TARGET == HWY_SCALAR
    const auto sum = std::accumulate(values, values + weights::kBlockWeights / 2, 0);
#else
    const hn::FixedTag<std::uint8_t, 16> bytes;
    const hn::FixedTag<std::uint64_t, 2> sums;
    const auto shifted = hn::Xor(hn::LoadU(bytes, reinterpret_cast<const std::uint8_t*>(values)),
                                 hn::Set(bytes, 0x80));  // each greater by 128
    const auto sum =
        static_cast<std::int32_t>(hn::GetLane(hn::SumOfLanes(sums, hn::SumsOf8(shifted)))) - 16 * 128;
#endif
    to.half_offsets[half] = -kByteOffset * sum;
  }
  for (std::size_t b = 0; b < num_blocks; ++b) {
    to.offsets[b] = to.half_offsets[2 * b] + to.half_offsets[2 * b + 1];
    to.scaled_sums[b] = to.scales[b] * static_cast<float>(to.offsets[b] / -kByteOffset);
  }
}

// Pairs of the values, where weights are multiplied in pairs.
void split_quads(const std::int8_t* values, std::size_t num_inputs, PairedInputs& to) {
  const hn::CappedTag<std::int16_t, weights::kBlockWeights / 2> words;
  for (std::size_t i = 0; i < num_inputs / 2; i += hn::MaxLanes(words)) {
#if HWY_TARGET == HWY_SCALAR
    const std::int8_t* const pair = values + i / 2 * 4 + i % 2 * 2;
    to.evens[i] = pair[0];
    to.odds[i] = pair[1];
#else
    const auto bytes =
        hn::BitCast(words, hn::LoadU(hn::Repartition<std::int8_t, decltype(words)>(), values + 2 * i));
    hn::StoreU(hn::ShiftRight<8>(hn::ShiftLeft<8>(bytes)), words, to.evens + i);
    hn::StoreU(hn::ShiftRight<8>(bytes), words, to.odds + i);
#endif
  }
}

void quantise(const float* x, std::size_t num_inputs, QuantisedInputs& to, PairedInputs& pairs) {
  const std::size_t num_blocks = num_inputs / weights::kBlockWeights;
  const Factors blocks = scale_blocks(x, num_blocks, to);
  const hn::Rebind<std::int8_t, D> bytes;
  for (std::size_t b = 0; b < num_blocks; ++b) {
    const V factor = set(blocks.factors[b]);
    for (std::size_t i = b * weights::kBlockWeights; i < (b + 1) * weights::kBlockWeights; i += kLanes) {
      const V scaled = blocks.is_finite[b] ? hn::Mul(hn::LoadU(D(), x + i), factor) : set(0.0F);
      hn::StoreU(hn::DemoteTo(bytes, hn::NearestInt(scaled)), bytes, to.values + i);
    }
  }
  sum_values(num_blocks, to);
  if constexpr (!kBytesInQuads) split_quads(to.values, num_inputs, pairs);
}

}  // namespace
}  // namespace ttt::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ttt::cpu {

HWY_EXPORT(quantise);

void quantise_inputs(const float* x, std::size_t num_inputs, QuantisedInputs& to, PairedInputs& pairs) {
  HWY_DYNAMIC_DISPATCH(quantise)(x, num_inputs, to, pairs);
}

}  // namespace ttt::cpu
#endif  // HWY_ONCE
