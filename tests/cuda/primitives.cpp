// SPDX-License-Identifier: Apache-2.0
// Every primitive of cuda/kernels/device.cuh against its plain definition, computed here: the emulator's
// bodies, and unchanged the hardware's on a GPU. What the emulator cannot know of the hardware (where
// fragments lie, how sums are rounded, how wrong an approximation is) is compared with it nowhere else.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "cuda/device_memory.h"
#include "tests/cuda/device_array.h"
#include "tests/cuda/primitive_kernels.h"
#include "tests/random.h"
#include "tests/same_bits.h"
#include "weights/float16.h"

using namespace ttt;
using test::DeviceArray;

namespace {

constexpr std::size_t kLanes = 32;

std::uint32_t bits_of(float x) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

std::uint16_t low_half(std::uint32_t pair) { return static_cast<std::uint16_t>(pair & 0xFFFFU); }
std::uint16_t high_half(std::uint32_t pair) { return static_cast<std::uint16_t>(pair >> 16); }
// Of two numbers of 16 bits, the first one low.
std::uint32_t pair_of(std::uint32_t low, std::uint32_t high) { return low | high << 16; }

// The same number, -0 apart from 0; any NaN is as good as another.
bool same_half(std::uint16_t found, std::uint16_t wanted) {
  const auto is_nan = [](std::uint16_t bits) { return std::isnan(weights::f16_to_float(bits)); };
  return found == wanted || (is_nan(found) && is_nan(wanted));
}
bool same_bf16(std::uint16_t found, std::uint16_t wanted) {
  const auto is_nan = [](std::uint16_t bits) { return std::isnan(weights::bf16_to_float(bits)); };
  return found == wanted || (is_nan(found) && is_nan(wanted));
}
bool same_float(float found, float wanted) {
  return bits_of(found) == bits_of(wanted) || (std::isnan(found) && std::isnan(wanted));
}

// Of any size that fp32 has, subnormal ones too, and what lies at the edges of 16 bits.
std::vector<float> any_floats(test::Random& random, std::size_t count) {
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> values = {0.0F,
                               -0.0F,
                               1.0F,
                               65504.0F,
                               65519.0F,
                               65520.0F,
                               0x1p-14F,
                               0x1p-24F,
                               0x1p-25F,
                               0x3p-26F,
                               0x1p-126F,
                               0x1p-133F,
                               0x1p-149F,
                               infinity,
                               -infinity,
                               3.4e38F,
                               std::numeric_limits<float>::quiet_NaN()};
  while (values.size() < count) {
    const auto bits = static_cast<std::uint32_t>(random.bits());
    float value = 0.0F;
    std::memcpy(&value, &bits, sizeof value);
    // Every other one of a size that fp16 has.
    if (values.size() % 2 == 0) {
      value = static_cast<float>(random.symmetric() *
                                 std::exp2(static_cast<double>(random.between(0, 44)) - 28.0));
    }
    values.push_back(value);
  }
  return values;
}

std::vector<test::NumberResults> number_results(const std::vector<float>& x, const std::vector<float>& y,
                                                const std::vector<std::uint16_t>& halves) {
  const DeviceArray<float> device_x(x), device_y(y);
  const DeviceArray<std::uint16_t> device_halves(halves);
  const DeviceArray<test::NumberResults> results(std::vector<test::NumberResults>(x.size()));
  test::launch_numbers({device_x.get(), device_y.get(), device_halves.get(), results.get()},
                       x.size() / kLanes);
  return results.read();
}

// One product of matrices [16, 16] and [16, 8], and what it is added to.
struct MmaCase {
  std::vector<float> A = std::vector<float>(256), B = std::vector<float>(128), C = std::vector<float>(128);
};

// Of values that the type holds.
std::vector<float> products_of(const std::vector<MmaCase>& cases, bool is_half) {
  std::vector<std::uint16_t> A, B;
  std::vector<float> C;
  const auto narrow = [is_half](float x) {
    const std::uint16_t bits = is_half ? weights::float_to_f16(x) : weights::float_to_bf16(x);
    REQUIRE(same_float(is_half ? weights::f16_to_float(bits) : weights::bf16_to_float(bits), x));
    return bits;
  };
  for (const MmaCase& one : cases) {
    for (const float x : one.A) A.push_back(narrow(x));
    for (const float x : one.B) B.push_back(narrow(x));
    C.insert(C.end(), one.C.begin(), one.C.end());
  }
  const DeviceArray<std::uint16_t> device_A(A), device_B(B);
  const DeviceArray<float> device_C(C), D(std::vector<float>(C.size()));
  test::launch_mma({device_A.get(), device_B.get(), device_C.get(), D.get(), is_half}, cases.size());
  return D.read();
}

// An element of a product in double, and the sum of the magnitudes of what is added.
struct Element {
  double sum = 0.0, magnitude = 0.0;
};
Element element_of(const MmaCase& one, std::size_t row, std::size_t column) {
  Element element{static_cast<double>(one.C[8 * row + column]),
                  std::abs(static_cast<double>(one.C[8 * row + column]))};
  for (std::size_t k = 0; k < 16; ++k) {
    const double term = static_cast<double>(one.A[16 * row + k]) * static_cast<double>(one.B[8 * k + column]);
    element.sum += term;
    element.magnitude += std::abs(term);
  }
  return element;
}

}  // namespace

TEST_CASE("primitives: numbers are rounded to 16 bits to nearest even") {
  test::Random random(1);
  const std::vector<float> x = any_floats(random, 4096), y(x.rbegin(), x.rend());
  const auto results = number_results(x, y, std::vector<std::uint16_t>(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const test::NumberResults& found = results[i];
    CAPTURE(x[i], y[i]);
    REQUIRE(same_bf16(low_half(found.bf16_pair), weights::float_to_bf16(x[i])));
    REQUIRE(same_bf16(high_half(found.bf16_pair), weights::float_to_bf16(y[i])));
    REQUIRE(same_half(low_half(found.half_pair), weights::float_to_f16(x[i])));
    REQUIRE(same_half(high_half(found.half_pair), weights::float_to_f16(y[i])));
    REQUIRE(same_float(found.low, weights::bf16_to_float(low_half(found.bf16_pair))));
    REQUIRE(same_float(found.high, weights::bf16_to_float(high_half(found.bf16_pair))));
    REQUIRE(same_float(found.rounded, found.low));
    REQUIRE(found.bits == bits_of(x[i]));
    REQUIRE(bits_of(found.back) == bits_of(x[i]));
    REQUIRE(found.kept == static_cast<int>(i));
  }
}

TEST_CASE("primitives: all numbers of 16 bits have their values in fp32") {
  std::vector<std::uint16_t> halves;
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) halves.push_back(static_cast<std::uint16_t>(bits));
  const std::vector<float> ones(halves.size(), 1.0F);
  const auto results = number_results(ones, ones, halves);
  for (std::size_t i = 0; i < halves.size(); ++i) {
    CAPTURE(i);
    REQUIRE(same_float(results[i].from_half, weights::f16_to_float(halves[i])));
    REQUIRE(same_float(results[i].from_bf16, weights::bf16_to_float(halves[i])));
  }
}

TEST_CASE("primitives: approximations are as near as device.cuh says") {
  test::Random random(2);
  std::vector<float> x;
  while (x.size() < 4096) {
    const double magnitude = std::exp2(12.0 * random.symmetric() - 15.0);  // 2^-36 to 2^6
    x.push_back(static_cast<float>(x.size() % 2 == 0 ? magnitude : -magnitude));
  }
  const auto results = number_results(x, x, std::vector<std::uint16_t>(x.size()));
  const auto error = [](float found, double wanted) {
    return std::abs(static_cast<double>(found) - wanted) / std::abs(wanted);
  };
  for (std::size_t i = 0; i < x.size(); ++i) {
    CAPTURE(x[i]);
    const auto exact = static_cast<double>(x[i]);
    REQUIRE(results[i].rsqrt_exact == 1.0F / std::sqrt(std::abs(x[i])));
    REQUIRE(error(results[i].rsqrt_approx, 1.0 / std::sqrt(std::abs(exact))) <= 0x1p-22);
    REQUIRE(error(results[i].tanh, std::tanh(exact)) <= 0x1p-11 * 1.001);
    // CUDA's manual: 2 + 1.173 |x| units in the last place, one of which is at most 2^-23 of the number.
    REQUIRE(error(results[i].exp, std::exp(exact)) <= (2.0 + 1.173 * std::abs(exact)) * 0x1p-23);
  }
}

TEST_CASE("primitives: two fp16 numbers are subtracted and multiplied at once, bytes are spread") {
  test::Random random(3);
  std::vector<std::uint32_t> a, b;
  while (a.size() < 8192) {
    a.push_back(static_cast<std::uint32_t>(random.bits()));
    // Every other one near the first, so that little is left.
    b.push_back(a.size() % 2 == 0 ? a.back() ^ 0x00070007U : static_cast<std::uint32_t>(random.bits()));
  }
  const DeviceArray<std::uint32_t> device_a(a), device_b(b);
  const DeviceArray<test::PairResults> results(std::vector<test::PairResults>(a.size()));
  test::launch_pairs({device_a.get(), device_b.get(), results.get()}, a.size() / kLanes);
  const auto found = results.read();
  for (std::size_t i = 0; i < a.size(); ++i) {
    CAPTURE(a[i], b[i]);
    for (const auto half : {low_half, high_half}) {
      // fp32 has more than twice the bits of fp16: rounding a result by both is rounding it once.
      const float left = weights::f16_to_float(half(a[i])), right = weights::f16_to_float(half(b[i]));
      REQUIRE(same_half(half(found[i].difference), weights::float_to_f16(left - right)));
      REQUIRE(same_half(half(found[i].product), weights::float_to_f16(left * right)));
    }
    REQUIRE(found[i].low_bytes == pair_of(a[i] & 0xFFU, a[i] >> 8 & 0xFFU));
    REQUIRE(found[i].high_bytes == pair_of(a[i] >> 16 & 0xFFU, a[i] >> 24));
  }
}

TEST_CASE("primitives: shuffles take from the lane that they name, in their own warp") {
  test::Random random(4);
  std::vector<float> x(64);
  std::vector<std::uint32_t> bits(64);
  for (float& value : x) value = static_cast<float>(random.symmetric());
  for (std::uint32_t& value : bits) value = static_cast<std::uint32_t>(random.bits());
  const DeviceArray<float> device_x(x);
  const DeviceArray<std::uint32_t> device_bits(bits);
  for (const int mask : {1, 2, 4, 5, 8, 16, 31}) {
    CAPTURE(mask);
    const DeviceArray<test::ShuffleResults> results(std::vector<test::ShuffleResults>(64));
    test::launch_shuffles({device_x.get(), device_bits.get(), mask, results.get()});
    const auto found = results.read();
    for (std::size_t i = 0; i < 64; ++i) {
      const std::size_t crossed = i ^ static_cast<std::size_t>(mask), picked = i / 32 * 32 + 7 * i % 32;
      REQUIRE(found[i].crossed_float == x[crossed]);
      REQUIRE(found[i].picked_float == x[picked]);
      REQUIRE(found[i].crossed == bits[crossed]);
      REQUIRE(found[i].picked == bits[picked]);
    }
  }
}

TEST_CASE("primitives: matrices are loaded and transposed as fragments") {
  std::vector<std::uint16_t> rows;
  test::Random random(5);
  for (int i = 0; i < 256; ++i) rows.push_back(static_cast<std::uint16_t>(random.bits()));
  const DeviceArray<std::uint16_t> device_rows(rows);
  const DeviceArray<test::FragmentResults> results(std::vector<test::FragmentResults>(32));
  test::launch_fragments({device_rows.get(), results.get()});
  const auto found = results.read();
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    CAPTURE(lane);
    const std::size_t group = lane / 4, first = 2 * (lane % 4);
    for (std::size_t m = 0; m < 4; ++m) {
      const auto at = [&](std::size_t row, std::size_t column) { return rows[64 * m + 8 * row + column]; };
      REQUIRE(found[lane].plain[m] == pair_of(at(group, first), at(group, first + 1)));
      REQUIRE(found[lane].transposed[m] == pair_of(at(first, group), at(first + 1, group)));
    }
    REQUIRE(found[lane].moved == found[lane].transposed[2]);
  }
}

// Sums that fp32 holds whatever is added first, each element another.
TEST_CASE("primitives: mma multiplies small whole numbers exactly, subnormal fp16 ones too") {
  const bool is_half = GENERATE(false, true);
  test::Random random(6);
  std::vector<MmaCase> cases(16);
  const auto whole = [&random] { return static_cast<float>(static_cast<int>(random.below(33)) - 16); };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    // Of fp16 2^-24 is the smallest number, and below 2^-14 all are subnormal.
    const float scale = is_half && i % 2 == 1 ? 0x1p-24F : 1.0F;
    for (float& x : cases[i].A) x = scale * whole();
    for (float& x : cases[i].B) x = whole();
    for (float& x : cases[i].C) x = scale * whole();
  }
  const std::vector<float> D = products_of(cases, is_half);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    for (std::size_t row = 0; row < 16; ++row) {
      for (std::size_t column = 0; column < 8; ++column) {
        CAPTURE(is_half, i, row, column);
        REQUIRE(static_cast<double>(D[128 * i + 8 * row + column]) == element_of(cases[i], row, column).sum);
      }
    }
  }
}

TEST_CASE("primitives: mma loses no more than the last bits of its terms") {
  const bool is_half = GENERATE(false, true);
  test::Random random(7);
  std::vector<MmaCase> cases(64);
  const auto draw = [&](double size) {
    const auto x = static_cast<float>(size * random.symmetric());
    return is_half ? weights::f16_to_float(weights::float_to_f16(x))
                   : weights::bf16_to_float(weights::float_to_bf16(x));
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const double size = std::exp2(static_cast<double>(i % 8));  // of C, beside terms of 1
    for (float& x : cases[i].A) x = draw(1.0);
    for (float& x : cases[i].B) x = draw(1.0);
    for (float& x : cases[i].C) x = static_cast<float>(size * random.symmetric());
  }
  const std::vector<float> D = products_of(cases, is_half);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    for (std::size_t row = 0; row < 16; ++row) {
      for (std::size_t column = 0; column < 8; ++column) {
        CAPTURE(is_half, i, row, column);
        // Products are exact. Hardware may add in two steps of eight products and what was there before, cut
        // each of these 18 off at the last bit of the largest, and each step's sum at its own.
        const Element wanted = element_of(cases[i], row, column);
        REQUIRE(std::abs(static_cast<double>(D[128 * i + 8 * row + column]) - wanted.sum) <=
                20 * 0x1p-23 * wanted.magnitude);
      }
    }
  }
}

TEST_CASE("primitives: a NaN in mma stays in its row and its column") {
  const bool is_half = GENERATE(false, true);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<MmaCase> cases(1);
  for (float& x : cases[0].A) x = 2.0F;
  for (float& x : cases[0].B) x = 3.0F;
  cases[0].A[16 * 11 + 6] = nan;
  cases[0].B[8 * 9 + 4] = nan;
  const std::vector<float> D = products_of(cases, is_half);
  for (std::size_t row = 0; row < 16; ++row) {
    for (std::size_t column = 0; column < 8; ++column) {
      CAPTURE(is_half, row, column);
      REQUIRE(same_float(D[8 * row + column], row == 11 || column == 4 ? nan : 96.0F));
    }
  }
}

TEST_CASE(
    "primitives: asynchronous copies are there after their group was waited for, zeros where not valid") {
  std::vector<float> from;
  for (int i = 0; i < 320; ++i) from.push_back(static_cast<float>(i + 1));
  const DeviceArray<float> device_from(from), first(std::vector<float>(256)), last(std::vector<float>(64));
  test::launch_copies({device_from.get(), first.get(), last.get()});
  const std::vector<float> found_first = first.read(), found_last = last.read();
  for (std::size_t i = 0; i < 64; ++i) {
    const std::size_t other = 63 - i;
    CAPTURE(i);
    for (std::size_t e = 0; e < 4; ++e)
      REQUIRE(found_first[4 * i + e] == (other % 3 != 0 ? from[4 * other + e] : 0.0F));
    REQUIRE(found_last[i] == (other % 5 != 0 ? from[256 + other] : 0.0F));
  }
}

TEST_CASE("primitives: named barriers order those who write and those who read, round by round") {
  constexpr int kRounds = 50;
  const DeviceArray<int> found(std::vector<int>(64));
  test::launch_barriers({kRounds, found.get()});
  const std::vector<int> sums = found.read();
  for (int i = 0; i < 64; ++i) {
    CAPTURE(i);
    REQUIRE(sums[static_cast<std::size_t>(i)] == kRounds * (kRounds - 1) / 2 * (64 - i));
  }
}

TEST_CASE("primitives: a kernel that starts early reads what those before it have written") {
  constexpr int kLaunches = 20;
  std::vector<std::uint32_t> numbers(1024);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<std::uint32_t>(i);
  const DeviceArray<std::uint32_t> from(numbers), to(numbers);
  const cuda::Stream stream;
  cuda::check(cudaDeviceSynchronize(), "copying");  // the stream waits for no other, nor for copies
  test::launch_chain({from.get(), to.get()}, kLaunches, stream.get());
  stream.synchronise();
  for (int launch = 0; launch < kLaunches; ++launch) {
    std::vector<std::uint32_t> next;
    for (std::size_t i = 0; i < numbers.size(); ++i) next.push_back(3 * numbers[(i + 1) % 1024] + 1);
    numbers = next;
  }
  CHECK(test::same_bits(from.read(), numbers));  // an even number of launches
}
