// SPDX-License-Identifier: Apache-2.0
// What the kernels share: loads of any length, sums, elementary functions and the tile of a small product, in
// one fixed order of operations, so that a value has the same bits wherever and however often it is computed.
// No libm: its functions differ between machines. Compiled once per target, inside a kernel's source file.
#if defined(TTT_CPU_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TTT_CPU_SIMD_INL_H_
#undef TTT_CPU_SIMD_INL_H_
#else
#define TTT_CPU_SIMD_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/simd_targets.h"

#include <hwy/highway.h>

#if HWY_COMPILER_CLANG
#define TTT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TTT_UNROLL _Pragma("GCC unroll 64")
#endif

#define TTT_AVX512 (HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL)
#if HWY_TARGET == HWY_AVX3_DL
// Highway asks the machine for AVX512-VNNI and lets the compiler use AVX-VNNI, its younger twin of 256 bits.
// What is written here is AVX512-VNNI.
#undef HWY_TARGET_STR
#define HWY_TARGET_STR \
  HWY_TARGET_STR_AVX3  \
  ",vpclmulqdq,avx512vbmi,avx512vbmi2,vaes,avxvnni,avx512bitalg,avx512vpopcntdq,avx512vnni"
#endif

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
inline constexpr std::size_t kLanes = hn::MaxLanes(D());

// Partial sums that a tile may hold, one vector each: what the registers allow beside its operands.
#if TTT_AVX512 || HWY_TARGET == HWY_NEON
inline constexpr std::size_t kMaxSums = 24;  // of 32 registers
#elif HWY_TARGET == HWY_SCALAR
inline constexpr std::size_t kMaxSums = 16;  // of which the compiler makes 4 vectors
#else
inline constexpr std::size_t kMaxSums = 12;  // of 16 registers
#endif

constexpr std::size_t at_most(std::size_t count, std::size_t limit) { return count < limit ? count : limit; }

// The first `count` <= kLanes of `from`, then zeros. Reads nothing beyond them.
HWY_INLINE V load(const float* from, std::size_t count) {
  if (count == kLanes) return hn::LoadU(D(), from);
  HWY_ALIGN float lanes[kLanes] = {};
  std::memcpy(lanes, from, count * sizeof(float));
  return hn::Load(D(), lanes);
}

// kLanes halves, exactly.
HWY_INLINE V load_f16(const std::uint16_t* from) {
#if HWY_TARGET == HWY_AVX2 || TTT_AVX512
  const hn::Rebind<hwy::float16_t, D> halves;
  return hn::PromoteTo(D(), hn::BitCast(halves, hn::LoadU(hn::Rebind<std::uint16_t, D>(), from)));
#else
  const hn::Rebind<std::uint32_t, D> words;
  const auto bits = hn::PromoteTo(words, hn::LoadU(hn::Rebind<std::uint16_t, D>(), from));
  const auto magnitude = hn::ShiftLeft<13>(hn::And(bits, hn::Set(words, 0x7FFF)));
  const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(words, 0x8000)));
  // The exponent's bias grows by 112: a product with 2^112, exact for subnormal numbers too.
  const V scaled = hn::Mul(hn::BitCast(D(), magnitude), hn::Set(D(), 0x1p112F));
  const auto special = hn::Ge(hn::BitCast(D(), magnitude), hn::BitCast(D(), hn::Set(words, 0x0F800000)));
  const V infinite = hn::IfThenElseZero(special, hn::BitCast(D(), hn::Set(words, 0x7F800000)));
  return hn::Or(hn::Or(scaled, infinite), hn::BitCast(D(), sign));
#endif
}

HWY_INLINE void store(V v, float* to, std::size_t count) {
  if (count == kLanes) {
    hn::StoreU(v, D(), to);
    return;
  }
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, D(), lanes);
  std::memcpy(to, lanes, count * sizeof(float));
}

HWY_INLINE V set(float value) { return hn::Set(D(), value); }

HWY_INLINE float sum_of_lanes(V v) { return hn::GetLane(hn::SumOfLanes(D(), v)); }

// Four partial sums of vectors hide the latency of an addition: vector i goes to partial sum i mod 4.
HWY_INLINE float dot(const float* a, const float* b, std::size_t size) {
  V sums[4] = {set(0.0F), set(0.0F), set(0.0F), set(0.0F)};
  std::size_t i = 0;
  for (; i + 4 * kLanes <= size; i += 4 * kLanes) {
    TTT_UNROLL
    for (std::size_t part = 0; part < 4; ++part) {
      const std::size_t at = i + part * kLanes;
      sums[part] = hn::MulAdd(hn::LoadU(D(), a + at), hn::LoadU(D(), b + at), sums[part]);
    }
  }
  for (std::size_t part = 0; part < 4 && i < size; i += kLanes, ++part) {
    const std::size_t count = at_most(size - i, kLanes);
    sums[part] = hn::MulAdd(load(a + i, count), load(b + i, count), sums[part]);
  }
  return sum_of_lanes(hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3])));
}

HWY_INLINE float sum(const float* a, std::size_t size) {
  V sums[4] = {set(0.0F), set(0.0F), set(0.0F), set(0.0F)};
  std::size_t i = 0;
  for (; i + 4 * kLanes <= size; i += 4 * kLanes) {
    TTT_UNROLL
    for (std::size_t part = 0; part < 4; ++part) {
      sums[part] = hn::Add(sums[part], hn::LoadU(D(), a + i + part * kLanes));
    }
  }
  for (std::size_t part = 0; part < 4 && i < size; i += kLanes, ++part) {
    sums[part] = hn::Add(sums[part], load(a + i, at_most(size - i, kLanes)));
  }
  return sum_of_lanes(hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3])));
}

// e^x within 2 ulp for x in [-87, 88]; beyond, the value at that end: never 0, never infinite. NaN gives the
// value at -87: what multiplies it (x in silu and gelu) carries the NaN on.
HWY_INLINE V exp(V x) {
  const V lowest = set(-87.0F);
  const V highest = set(88.0F);
  const V rounder = set(12582912.0F);                // 1.5 * 2^23: adding it rounds to an integer
  x = hn::IfThenElse(hn::Gt(x, lowest), x, lowest);  // NaN too: the conversion below must stay defined
  x = hn::IfThenElse(hn::Lt(x, highest), x, highest);
  const V n = hn::Sub(hn::MulAdd(x, set(1.44269504F), rounder), rounder);
  // ln 2 in two parts; |r| <= 0.347
  const V r = hn::MulAdd(n, set(2.12194440e-4F), hn::NegMulAdd(n, set(0.693359375F), x));
  // Taylor to r^7: the rest is below 6e-9.
  V p = set(1.0F / 5040.0F);
  p = hn::MulAdd(p, r, set(1.0F / 720.0F));
  p = hn::MulAdd(p, r, set(1.0F / 120.0F));
  p = hn::MulAdd(p, r, set(1.0F / 24.0F));
  p = hn::MulAdd(p, r, set(1.0F / 6.0F));
  p = hn::MulAdd(p, r, set(0.5F));
  p = hn::MulAdd(p, r, set(1.0F));
  p = hn::MulAdd(p, r, set(1.0F));
  const hn::RebindToSigned<D> integers;
  const auto exponent = hn::Add(hn::ConvertTo(integers, n), hn::Set(integers, 127));
  return hn::Mul(p, hn::BitCast(D(), hn::ShiftLeft<23>(exponent)));
}

HWY_INLINE V sigmoid(V x) {
  const V one = set(1.0F);
  return hn::Div(one, hn::Add(one, exp(hn::Neg(x))));
}

HWY_INLINE V silu(V x) { return hn::Mul(x, sigmoid(x)); }

// GELU in its tanh form, 0.5 a (1 + tanh u) = a sigmoid(2u), u = sqrt(2/pi) (a + 0.044715 a^3).
inline constexpr float kTwoSqrt2OverPi = 1.595769122F;
inline constexpr float kGeluCubic = 0.044715F;

HWY_INLINE V gelu_sigmoid(V a) {
  const V cube = hn::Mul(hn::Mul(hn::Mul(set(kGeluCubic), a), a), a);
  return sigmoid(hn::Mul(set(kTwoSqrt2OverPi), hn::Add(a, cube)));
}

HWY_INLINE V gelu(V a) { return hn::Mul(a, gelu_sigmoid(a)); }

struct Gelu {
  V value, derivative;
};

// d gelu(a) / da = s + a s (1 - s) d(2u)/da, with a s = gelu(a)
HWY_INLINE Gelu gelu_and_derivative(V a) {
  const V one = set(1.0F);
  const V s = gelu_sigmoid(a);
  const V value = hn::Mul(a, s);
  const V slope = hn::Mul(set(kTwoSqrt2OverPi), hn::Add(one, hn::Mul(hn::Mul(set(3.0F * kGeluCubic), a), a)));
  return {value, hn::Add(s, hn::Mul(hn::Mul(value, hn::Sub(one, s)), slope))};
}

// Left operand of a small product: element (row, i) is at[row * row_stride + i * step].
struct Rows {
  const float* at;
  std::size_t row_stride;
  std::size_t step;
};

// Right operands: load(i, v) gives vector v of row i.
struct FloatColumns {
  const float* at;
  std::size_t row_stride;
  HWY_INLINE V load(std::size_t i, std::size_t v) const {
    return hn::LoadU(D(), at + i * row_stride + v * kLanes);
  }
};

struct LastColumns {  // fewer than a vector
  const float* at;
  std::size_t row_stride;
  std::size_t count;
  HWY_INLINE V load(std::size_t i, std::size_t) const {
    return HWY_NAMESPACE::load(at + i * row_stride, count);
  }
};

// sums[r][v] += x(r, i) * w(i, v) for one i.
template <std::size_t kRows, std::size_t kVectors, class Columns>
HWY_INLINE void accumulate_one(const Rows& x, const Columns& w, std::size_t i, V (&sums)[kRows][kVectors]) {
  if constexpr (kRows <= kVectors) {  // whichever operand needs fewer registers is held
    V values[kRows];
    TTT_UNROLL
    for (std::size_t r = 0; r < kRows; ++r) values[r] = set(x.at[r * x.row_stride + i * x.step]);
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) {
      const V weight = w.load(i, v);
      TTT_UNROLL
      for (std::size_t r = 0; r < kRows; ++r) sums[r][v] = hn::MulAdd(values[r], weight, sums[r][v]);
    }
  } else {
    V weights[kVectors];
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) weights[v] = w.load(i, v);
    TTT_UNROLL
    for (std::size_t r = 0; r < kRows; ++r) {
      const V value = set(x.at[r * x.row_stride + i * x.step]);
      TTT_UNROLL
      for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(value, weights[v], sums[r][v]);
    }
  }
}

// The same for i in [begin, end), in order: each sum is one chain of fused multiply-adds.
template <std::size_t kRows, std::size_t kVectors, class Columns>
HWY_INLINE void accumulate(const Rows& x, const Columns& w, std::size_t begin, std::size_t end,
                           V (&sums)[kRows][kVectors]) {
  for (std::size_t i = begin; i < end; ++i) accumulate_one(x, w, i, sums);
}

template <std::size_t kRows, std::size_t kVectors>
HWY_INLINE void set_zero(V (&sums)[kRows][kVectors]) {
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = set(0.0F);
  }
}

// Into the second-level cache. What lies behind the end of all weights is not there, and so not fetched.
HWY_INLINE void fetch(const char* at) { __builtin_prefetch(at, 0, 2); }

}  // namespace ttt::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // TTT_CPU_SIMD_INL_H_
