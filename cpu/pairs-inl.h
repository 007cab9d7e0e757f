// SPDX-License-Identifier: Apache-2.0
// Products of small integers, exact on every target: vectors of pairs of inputs in 16 bits, multiplied and
// added to 32 bits. A weight is 8 bits, or a quant of Q6_K times its part's scale, at most 32 * 128 = 4,096
// in magnitude; x is at most 127. The sum of a block of 32 inputs is then at most 16,646,144, below 2^24:
// nothing can saturate or wrap, and as a float it is still exact.
//
// Bytes go faster as quads: four inputs of each output. Where there is VNNI their products are added in 32
// bits at once, for weights from 0 to 255. Elsewhere they are added in twos in 16 bits, for weights of four
// bits: 32 inputs come to eight additions of at most 2 * 15 * 127, 30,480 together. Compiled once per target.
//
// The four inputs of a quad are two pairs, the even ones (0 and 2) and the odd ones (1 and 3): a mask and a
// shift give them.
#if defined(TTT_CPU_PAIRS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TTT_CPU_PAIRS_INL_H_
#undef TTT_CPU_PAIRS_INL_H_
#else
#define TTT_CPU_PAIRS_INL_H_
#endif

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/packed_matrix.h"
#include "cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {

// A vector has one lane of 32 bits for each of kLanes outputs: a sum, or a pair of inputs' weights.
#if HWY_TARGET == HWY_SCALAR

struct Pairs {
  std::int16_t first, second;
};
using Sums = std::int32_t;

HWY_INLINE Sums set_sums(std::int32_t value) { return value; }

HWY_INLINE Pairs load_pairs(const std::int16_t* from) { return {from[0], from[1]}; }
// The even (0) or odd (1) inputs of quads.
template <int kParity>
HWY_INLINE Pairs load_half_quads(const std::uint8_t* from) {
  return {from[kParity], from[kParity + 2]};
}
HWY_INLINE Pairs same_pair(const std::int16_t* from) { return {from[0], from[1]}; }
HWY_INLINE void store_pairs(Pairs pairs, std::int16_t* to) { to[0] = pairs.first, to[1] = pairs.second; }

// Of every 16 bits the six at kShift.
template <int kShift>
HWY_INLINE Pairs load_sixes(const std::uint16_t* from) {
  const auto six = [&](std::size_t i) { return static_cast<std::int16_t>(from[i] >> kShift & 0x3F); };
  return {six(0), six(1)};
}

// The six at kShift, 0 or 6, of the upper four bits of three words, `stride` apart.
template <int kShift>
HWY_INLINE Pairs load_split_sixes(const std::uint16_t* from, std::size_t stride) {
  const auto six = [&](std::size_t i) {
    const int bits = from[i] >> 12 | from[stride + i] >> 12 << 4 | from[2 * stride + i] >> 12 << 8;
    return static_cast<std::int16_t>(bits >> kShift & 0x3F);
  };
  return {six(0), six(1)};
}

// The number of each output, for both of its inputs.
HWY_INLINE Pairs load_for_both(const std::int8_t* from) { return {from[0], from[0]}; }

HWY_INLINE Pairs multiply(Pairs a, Pairs b) {
  return {static_cast<std::int16_t>(a.first * b.first), static_cast<std::int16_t>(a.second * b.second)};
}

HWY_INLINE Pairs subtract(Pairs pairs, std::int16_t value) {
  return {static_cast<std::int16_t>(pairs.first - value), static_cast<std::int16_t>(pairs.second - value)};
}

HWY_INLINE Sums multiply_add(Pairs a, Pairs b, Sums sums) {
  return sums + a.first * b.first + a.second * b.second;
}

HWY_INLINE V to_floats(Sums sums) { return set(static_cast<float>(sums)); }

// Four inputs' weights of an output; four inputs of x.
struct Quads {
  std::uint8_t weights[4];
};
struct SignedQuads {
  std::int8_t values[4];
};
using QuadSums = Pairs;

HWY_INLINE Quads load_quads(const std::uint8_t* from) { return {{from[0], from[1], from[2], from[3]}}; }
template <int kHalf>
HWY_INLINE Quads nibbles_of(Quads bytes) {
  Quads nibbles;
  for (std::size_t i = 0; i < 4; ++i) nibbles.weights[i] = bytes.weights[i] >> (4 * kHalf) & 0xF;
  return nibbles;
}
HWY_INLINE void store_quads(Quads quads, std::uint8_t* to) { std::memcpy(to, quads.weights, 4); }
HWY_INLINE SignedQuads same_quad(const std::int8_t* from) { return {{from[0], from[1], from[2], from[3]}}; }
HWY_INLINE Quads add(Quads quads, std::uint8_t value) {
  for (std::uint8_t& weight : quads.weights) weight = static_cast<std::uint8_t>(weight + value);
  return quads;
}
// Sums of quads whose weights are kOffset too large. `offset`: of their inputs (quantised_inputs.h), for
// weights that are kByteOffset too large; kOffset's share is added at the beginning or at the end.
template <std::int32_t kOffset>
HWY_INLINE QuadSums begin_quads(std::int32_t) {
  return {0, 0};
}
HWY_INLINE QuadSums multiply_add(Quads w, SignedQuads x, QuadSums sums) {
  const auto product = [&](std::size_t i) { return w.weights[i] * x.values[i]; };
  return {static_cast<std::int16_t>(sums.first + product(0) + product(1)),
          static_cast<std::int16_t>(sums.second + product(2) + product(3))};
}
template <std::int32_t kOffset>
HWY_INLINE Sums end_quads(QuadSums sums, std::int32_t offset) {
  return sums.first + sums.second + offset / kByteOffset * kOffset;
}

#else

using I32 = hn::RebindToSigned<D>;
using I16 = hn::Repartition<std::int16_t, D>;
using Pairs = hn::Vec<I16>;
using Sums = hn::Vec<I32>;

HWY_INLINE Sums set_sums(std::int32_t value) { return hn::Set(I32(), value); }
// What of an offset for weights that are kByteOffset too large is for kOffset, a power of two or 0.
template <std::int32_t kOffset>
HWY_INLINE Sums share_of(std::int32_t offset) {
  if constexpr (kOffset == 0) {
    return hn::Zero(I32());
  } else if constexpr (kOffset == kByteOffset) {
    return set_sums(offset);
  } else {
    return hn::ShiftRight<std::countr_zero(static_cast<std::uint32_t>(kByteOffset / kOffset))>(
        set_sums(offset));
  }
}

HWY_INLINE Pairs load_pairs(const std::int16_t* from) { return hn::LoadU(I16(), from); }
// The even (0) or odd (1) inputs of quads.
template <int kParity>
HWY_INLINE Pairs load_half_quads(const std::uint8_t* from) {
  const hn::RebindToUnsigned<I16> words;
  const auto bytes = hn::BitCast(words, hn::LoadU(hn::Repartition<std::uint8_t, I16>(), from));
  return hn::BitCast(I16(), kParity == 0 ? hn::And(bytes, hn::Set(words, 0xFF)) : hn::ShiftRight<8>(bytes));
}
HWY_INLINE Pairs same_pair(const std::int16_t* from) {
  std::int32_t pair;
  std::memcpy(&pair, from, sizeof(pair));
  return hn::BitCast(I16(), hn::Set(I32(), pair));
}
HWY_INLINE void store_pairs(Pairs pairs, std::int16_t* to) { hn::StoreU(pairs, I16(), to); }

// Of every 16 bits the six at kShift.
template <int kShift>
HWY_INLINE Pairs load_sixes(const std::uint16_t* from) {
  const hn::RebindToUnsigned<I16> words;
  auto bits = hn::LoadU(words, from);
  if constexpr (kShift > 0) bits = hn::ShiftRight<kShift>(bits);
  return hn::BitCast(I16(), hn::And(bits, hn::Set(words, 0x3F)));
}

// The six at kShift, 0 or 6, of the upper four bits of three words, `stride` apart.
template <int kShift>
HWY_INLINE Pairs load_split_sixes(const std::uint16_t* from, std::size_t stride) {
  const hn::RebindToUnsigned<I16> words;
  const auto first = hn::ShiftRight<12>(hn::LoadU(words, from));
  const auto second = hn::And(hn::ShiftRight<8>(hn::LoadU(words, from + stride)), hn::Set(words, 0xF0));
  const auto third = hn::And(hn::ShiftRight<4>(hn::LoadU(words, from + 2 * stride)), hn::Set(words, 0xF00));
  const auto bits = hn::Or(first, hn::Or(second, third));
  if constexpr (kShift == 6) {
    return hn::BitCast(I16(), hn::ShiftRight<6>(bits));
  } else {
    return hn::BitCast(I16(), hn::And(bits, hn::Set(words, 0x3F)));
  }
}

// The number of each output, for both of its inputs.
HWY_INLINE Pairs load_for_both(const std::int8_t* from) {
  const auto values = hn::PromoteTo(I32(), hn::LoadU(hn::Rebind<std::int8_t, I32>(), from));
  return hn::BitCast(I16(), hn::Or(hn::And(values, hn::Set(I32(), 0xFFFF)), hn::ShiftLeft<16>(values)));
}

HWY_INLINE Pairs multiply(Pairs a, Pairs b) { return hn::Mul(a, b); }

HWY_INLINE Pairs subtract(Pairs pairs, std::int16_t value) { return hn::Sub(pairs, hn::Set(I16(), value)); }

HWY_INLINE Sums multiply_add(Pairs a, Pairs b, Sums sums) {
#if HWY_ARCH_X86
  Sums unused = sums;
  sums = hn::ReorderWidenMulAccumulate(I32(), a, b, sums, unused);
  // Keeps the chain of additions: g++ would make a tree of it, with all products of a tile first and most of
  // them on the stack.
  __asm__("" : "+v"(sums.raw));
  return sums;
#else
  Sums upper = hn::Zero(I32());
  const Sums lower = hn::ReorderWidenMulAccumulate(I32(), a, b, hn::Zero(I32()), upper);
  return hn::Add(sums, hn::RearrangeToOddPlusEven(lower, upper));
#endif
}

HWY_INLINE V to_floats(Sums sums) { return hn::ConvertTo(D(), sums); }

using Quads = hn::Vec<hn::Repartition<std::uint8_t, D> >;
using SignedQuads = hn::Vec<hn::Repartition<std::int8_t, D> >;
HWY_INLINE Quads load_quads(const std::uint8_t* from) {
  return hn::LoadU(hn::Repartition<std::uint8_t, D>(), from);
}
// The lower (0) or upper (1) halves of bytes.
template <int kHalf>
HWY_INLINE Quads nibbles_of(Quads bytes) {
  const hn::Repartition<std::uint8_t, D> eights;
  const hn::RebindToUnsigned<I16> words;
  if constexpr (kHalf == 1) bytes = hn::BitCast(eights, hn::ShiftRight<4>(hn::BitCast(words, bytes)));
  return hn::And(bytes, hn::Set(eights, 0xF));
}
HWY_INLINE Quads add(Quads quads, std::uint8_t value) {
  return hn::Add(quads, hn::Set(hn::Repartition<std::uint8_t, D>(), value));
}
HWY_INLINE void store_quads(Quads quads, std::uint8_t* to) {
  hn::StoreU(quads, hn::Repartition<std::uint8_t, D>(), to);
}
HWY_INLINE SignedQuads same_quad(const std::int8_t* from) {
  std::int32_t quad;
  std::memcpy(&quad, from, sizeof(quad));
  return hn::BitCast(hn::Repartition<std::int8_t, D>(), hn::Set(I32(), quad));
}

#if HWY_TARGET == HWY_AVX3_DL

using QuadSums = Sums;
template <std::int32_t kOffset>
HWY_INLINE QuadSums begin_quads(std::int32_t offset) {
  return share_of<kOffset>(offset);
}
HWY_INLINE QuadSums multiply_add(Quads w, SignedQuads x, QuadSums sums) {
  return QuadSums{_mm512_dpbusd_epi32(sums.raw, w.raw, x.raw)};
}
template <std::int32_t kOffset>
HWY_INLINE Sums end_quads(QuadSums sums, std::int32_t) {
  return sums;
}
// Of the even and the odd inputs, none above 255.
HWY_INLINE Quads join(Pairs evens, Pairs odds) {
  return hn::BitCast(hn::Repartition<std::uint8_t, D>(), hn::Or(evens, hn::ShiftLeft<8>(odds)));
}

#else

using QuadSums = hn::Vec<I16>;
template <std::int32_t kOffset>
HWY_INLINE QuadSums begin_quads(std::int32_t) {
  return hn::Zero(I16());
}

// Products, neighbours added.
HWY_INLINE QuadSums add_neighbours(Quads w, SignedQuads x) {
#if HWY_TARGET == HWY_AVX3
  return QuadSums{_mm512_maddubs_epi16(w.raw, x.raw)};
#elif HWY_TARGET == HWY_AVX2
  return QuadSums{_mm256_maddubs_epi16(w.raw, x.raw)};
#elif HWY_ARCH_X86
  return QuadSums{_mm_maddubs_epi16(w.raw, x.raw)};
#else
  const int8x16_t signed_w = vreinterpretq_s8_u8(w.raw);
  return QuadSums(
      vpaddq_s16(vmull_s8(vget_low_s8(signed_w), vget_low_s8(x.raw)), vmull_high_s8(signed_w, x.raw)));
#endif
}

HWY_INLINE QuadSums multiply_add(Quads w, SignedQuads x, QuadSums sums) {
  sums = hn::Add(sums, add_neighbours(w, x));
#if HWY_ARCH_X86
  __asm__("" : "+v"(sums.raw));  // as above
#endif
  return sums;
}
template <std::int32_t kOffset>
HWY_INLINE Sums end_quads(QuadSums sums, std::int32_t offset) {
  const Sums sum = multiply_add(sums, hn::Set(I16(), 1), hn::Zero(I32()));
  if constexpr (kOffset == 0) return sum;
  return hn::Add(sum, share_of<kOffset>(offset));
}

#endif

#endif

// 8-bit weights are multiplied as quads, else as pairs.
inline constexpr bool kBytesInQuads = HWY_TARGET == HWY_AVX3_DL;

HWY_INLINE V to_floats(V sums) { return sums; }  // where several sums were added as floats

}  // namespace ttt::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // TTT_CPU_PAIRS_INL_H_
