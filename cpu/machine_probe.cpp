// SPDX-License-Identifier: Apache-2.0
#include "cpu/machine_probe.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#define TTT_WITH_VNNI
#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/machine_probe.cpp"
#include <hwy/foreach_target.h>

#include "cpu/pairs-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {
namespace {

double multiply_add_plainly(std::size_t rounds, float* sink) {
  // Different values: equal chains would be merged.
  V a = set(1.0F), b = set(2.0F), c = set(3.0F), d = set(4.0F), e = set(5.0F), f = set(6.0F);
  V g = set(7.0F), h = set(8.0F), i = set(9.0F), j = set(10.0F), k = set(11.0F), l = set(12.0F);
  const V x = set(0.999F), y = set(0.001F);
  for (std::size_t round = 0; round < rounds; ++round) {
    a = hn::MulAdd(a, x, y), b = hn::MulAdd(b, x, y), c = hn::MulAdd(c, x, y), d = hn::MulAdd(d, x, y);
    e = hn::MulAdd(e, x, y), f = hn::MulAdd(f, x, y), g = hn::MulAdd(g, x, y), h = hn::MulAdd(h, x, y);
    i = hn::MulAdd(i, x, y), j = hn::MulAdd(j, x, y), k = hn::MulAdd(k, x, y), l = hn::MulAdd(l, x, y);
  }
  const V sums = hn::Add(hn::Add(hn::Add(a, b), hn::Add(c, d)), hn::Add(hn::Add(e, f), hn::Add(g, h)));
  *sink = sum_of_lanes(hn::Add(sums, hn::Add(hn::Add(i, j), hn::Add(k, l))));
  return static_cast<double>(rounds) * 12.0 * 2.0 * static_cast<double>(kLanes);
}

// 2 or 4 products to a lane of 32 bits. Each chain goes through its sum, so that none can be computed once.
#if HWY_TARGET == HWY_AVX3_DL
constexpr std::size_t kLaneProducts = 4;
HWY_INLINE Sums multiply_int8(Sums sums) {
  return {_mm512_dpbusd_epi32(sums.raw, sums.raw, _mm512_set1_epi8(3))};
}
#elif HWY_TARGET == HWY_AVX3
constexpr std::size_t kLaneProducts = 4;
HWY_INLINE Sums multiply_int8(Sums sums) {
  const __m512i pairs = _mm512_maddubs_epi16(sums.raw, _mm512_set1_epi8(3));
  return {_mm512_add_epi32(sums.raw, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
}
#elif HWY_TARGET == HWY_AVX2
constexpr std::size_t kLaneProducts = 4;
HWY_INLINE Sums multiply_int8(Sums sums) {
  const __m256i pairs = _mm256_maddubs_epi16(sums.raw, _mm256_set1_epi8(3));
  return {_mm256_add_epi32(sums.raw, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))};
}
#elif HWY_TARGET == HWY_SCALAR
constexpr std::size_t kLaneProducts = 2;
HWY_INLINE Sums multiply_int8(Sums sums) {
  const auto unsigned_sums = static_cast<std::uint32_t>(sums);
  return static_cast<Sums>(unsigned_sums + (unsigned_sums & 0xFF) * 3U + (unsigned_sums >> 8 & 0xFF) * 3U);
}
#else
constexpr std::size_t kLaneProducts = 2;
HWY_INLINE Sums multiply_int8(Sums sums) {
  return multiply_add(hn::BitCast(I16(), sums), hn::Set(I16(), 3), sums);
}
#endif

double multiply_int8_plainly(std::size_t rounds, float* sink) {
  Sums a = set_sums(1), b = set_sums(2), c = set_sums(3), d = set_sums(4), e = set_sums(5);
  Sums f = set_sums(6), g = set_sums(7), h = set_sums(8), i = set_sums(9), j = set_sums(10);
  for (std::size_t round = 0; round < rounds; ++round) {
    a = multiply_int8(a), b = multiply_int8(b), c = multiply_int8(c), d = multiply_int8(d);
    e = multiply_int8(e), f = multiply_int8(f), g = multiply_int8(g), h = multiply_int8(h);
    i = multiply_int8(i), j = multiply_int8(j);
  }
  V total = set(0.0F);
  for (const Sums sums : {a, b, c, d, e, f, g, h, i, j}) total = hn::Add(total, to_floats(sums));
  *sink = sum_of_lanes(total);
  return static_cast<double>(rounds * kLaneProducts * kLanes) * 10.0 * 2.0;
}

void read_plainly(const float* from, std::size_t count, float* sink) {
  V a = set(0.0F), b = a, c = a, d = a;
  for (std::size_t i = 0; i + 4 * kLanes <= count; i += 4 * kLanes) {
    a = hn::Or(a, hn::LoadU(D(), from + i));
    b = hn::Or(b, hn::LoadU(D(), from + i + kLanes));
    c = hn::Or(c, hn::LoadU(D(), from + i + 2 * kLanes));
    d = hn::Or(d, hn::LoadU(D(), from + i + 3 * kLanes));
  }
  *sink = hn::GetLane(hn::Or(hn::Or(a, b), hn::Or(c, d)));
}

}  // namespace
}  // namespace ttt::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ttt::cpu {
namespace {

constexpr std::size_t kAlways = std::size_t{1} << 40;  // work that every thread shares
constexpr std::size_t kSinkStride = 16;                // floats of a cache line
constexpr std::size_t kRounds = 2'000'000;             // 24 million vectors: 5 to 10 ms

constexpr std::size_t kMaxPasses = 4,
                      kLongRead = std::size_t{512} << 20;  // one pass of so many bytes is enough

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

HWY_EXPORT(read_plainly);
HWY_EXPORT(multiply_add_plainly);
HWY_EXPORT(multiply_int8_plainly);

void read_plainly(const float* from, std::size_t count, float* sink) {
  HWY_DYNAMIC_DISPATCH(read_plainly)(from, count, sink);
}

double multiply_add_plainly(std::size_t rounds, float* sink) {
  return HWY_DYNAMIC_DISPATCH(multiply_add_plainly)(rounds, sink);
}

double multiply_int8_plainly(std::size_t rounds, float* sink) {
  return HWY_DYNAMIC_DISPATCH(multiply_int8_plainly)(rounds, sink);
}

MachineProbe::MachineProbe(std::size_t num_threads, std::size_t read_bytes)
    : pool_(num_threads),
      num_floats_(read_bytes / sizeof(float)),
      buffer_(allocate_large(num_floats_ * sizeof(float))),
      sinks_(num_threads * kSinkStride) {
  pool_.for_ranges(num_floats_, kAlways, [&](std::size_t begin, std::size_t end, std::size_t) {
    std::fill(floats() + begin, floats() + end, 1.0F);
  });
}

MachineLimits MachineProbe::measure() {
  return {.read_bytes_per_second = read_bytes_per_second(),
          .flops_per_second = flops_per_second(),
          .int8_ops_per_second = int8_ops_per_second()};
}

double MachineProbe::read_bytes_per_second() {
  const std::size_t bytes = num_floats_ * sizeof(float);
  double best = 0.0;
  for (std::size_t pass = 0; pass < kMaxPasses && (pass == 0 || pass * bytes < kLongRead); ++pass) {
    const Clock::time_point begin = Clock::now();
    pool_.for_ranges(num_floats_, kAlways, [&](std::size_t from, std::size_t to, std::size_t thread) {
      read_plainly(floats() + from, to - from, &sinks_[thread * kSinkStride]);
    });
    best = std::max(best, static_cast<double>(bytes) / seconds_since(begin));
  }
  return best;
}

double MachineProbe::rate_of(double (*compute)(std::size_t rounds, float* sink), std::size_t rounds) {
  std::vector<double> operations(pool_.num_threads());
  const Clock::time_point begin = Clock::now();
  pool_.for_ranges(operations.size(), kAlways, [&](std::size_t, std::size_t, std::size_t thread) {
    operations[thread] = compute(rounds, &sinks_[thread * kSinkStride]);
  });
  return std::accumulate(operations.begin(), operations.end(), 0.0) / seconds_since(begin);
}

double MachineProbe::flops_per_second() { return rate_of(cpu::multiply_add_plainly, kRounds); }

double MachineProbe::int8_ops_per_second() { return rate_of(cpu::multiply_int8_plainly, kRounds); }

}  // namespace ttt::cpu
#endif  // HWY_ONCE
