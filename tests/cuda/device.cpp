// SPDX-License-Identifier: Apache-2.0
// Every primitive of device.cuh in the emulator, against its plain definition.
#include "cuda/kernels/device.cuh"

#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tests/cuda/run_kernel.h"
#include "tests/random.h"

namespace ttt::cuda {

namespace {

struct Lane {
  unsigned lane = threadIdx.x % 32, group = lane / 4, member = lane % 4;
};

std::uint16_t low(std::uint32_t pair) { return static_cast<std::uint16_t>(pair & 0xFFFFU); }
std::uint16_t high(std::uint32_t pair) { return static_cast<std::uint16_t>(pair >> 16); }

}  // namespace

TEST_CASE("bf16 and fp16 are rounded to nearest even") {
  test::Random random(1);
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> values = {0.0F,  -0.0F, 1.0F,  65504.0F, 65519.0F,  65520.0F,
                               1e-7F, 3e-8F, 2e-8F, infinity, -infinity, 3e38F};
  for (int i = 0; i < 2000; ++i)
    values.push_back(static_cast<float>(random.symmetric() *
                                        std::exp2(static_cast<double>(random.between(0, 46)) - 28.0)));
  for (const float x : values) {
    const float bf16 = load_bf16(low(pack_bf16(x, 0.0F))), half = load_half(high(pack_half(0.0F, x)));
    CHECK(std::signbit(bf16) == std::signbit(x));
    CHECK(std::signbit(half) == std::signbit(x));
    // Nearest: no neighbour is closer. Even: of two that are as close, the one whose last bit is 0.
    const auto distance = [x](float y) { return std::abs(static_cast<double>(y) - static_cast<double>(x)); };
    if (std::abs(x) < 3e38F) {
      const std::uint16_t bits = low(pack_bf16(x, 0.0F));
      for (const int step : {-1, 1}) {
        const double other = distance(load_bf16(static_cast<std::uint16_t>(bits + step)));
        CHECK(
            (other > distance(bf16) || (other == distance(bf16) && bits % 2 == 0) || (bits & 0x7FFFU) == 0));
      }
    }
    if (std::abs(x) <= 65504.0F) {
      const std::uint16_t bits = high(pack_half(0.0F, x));
      for (const int step : {-1, 1}) {
        const double other = distance(load_half(static_cast<std::uint16_t>(bits + step)));
        CHECK(
            (other > distance(half) || (other == distance(half) && bits % 2 == 0) || (bits & 0x7FFFU) == 0));
      }
    }
  }
  CHECK(load_half(low(pack_half(65519.0F, 0.0F))) == 65504.0F);
  CHECK(load_half(low(pack_half(65520.0F, 0.0F))) == infinity);
  CHECK(load_half(low(pack_half(3e-8F, 0.0F))) == 0x1p-24F);
  CHECK(load_half(low(pack_half(2e-8F, 0.0F))) == 0.0F);
  CHECK(std::isnan(load_bf16(low(pack_bf16(std::nanf(""), 0.0F)))));
  CHECK(std::isnan(load_half(low(pack_half(std::nanf(""), 0.0F)))));
  CHECK(low_bf16(pack_bf16(1.5F, -2.0F)) == 1.5F);
  CHECK(high_bf16(pack_bf16(1.5F, -2.0F)) == -2.0F);
}

TEST_CASE("approximations are as wrong as the hardware's may be") {
  float worst = 0.0F;
  for (float x = -4.0F; x < 4.0F; x += 0.001F) {
    const float error = std::abs(tanh_approx(x) - std::tanh(x)) / std::abs(std::tanh(x));
    worst = std::max(worst, error);
  }
  CHECK(worst <= 0x1p-11F);
  CHECK(worst >= 0x1p-12F);
  CHECK(rsqrt_exact(16.0F) == 0.25F);
  CHECK(rsqrt_approx(16.0F) == 0.25F);
  CHECK(exp_approx(0.0F) == 1.0F);
}

TEST_CASE("shuffles") {
  for (const unsigned seed : {0U, 1U, 2U}) {
    const test::ThreadOrder order(seed);
    std::array<float, 64> crossed{};
    std::array<std::uint32_t, 64> picked{};
    test::run_block(64, 0, [&] {
      const unsigned i = threadIdx.x;
      crossed[i] = shuffle_xor(static_cast<float>(i), 5);
      picked[i] = shuffle(i, static_cast<int>(i * 7 % 32));
    });
    for (unsigned i = 0; i < 64; ++i) {
      CHECK(crossed[i] == static_cast<float>(i ^ 5U));
      CHECK(picked[i] == i / 32 * 32 + i * 7 % 32);
    }
  }
}

TEST_CASE("matrices are loaded and transposed as fragments") {
  // Element (row, column) of matrix m is 64 m + 8 row + column; rows lie in any order in shared memory.
  struct Fragments {
    std::uint32_t plain[4], transposed[4], moved;
  };
  std::array<Fragments, 32> of_lane{};
  test::run_block(32, 32 * 16, [&] {
    TTT_DYNAMIC_SHARED(shared);
    const Lane me;
    const unsigned place = me.lane * 11 % 32;
    auto* row = reinterpret_cast<std::uint16_t*>(shared + place * 16);
    for (unsigned column = 0; column < 8; ++column)
      row[column] = static_cast<std::uint16_t>(8 * me.lane + column);
    sync_warp();
    Fragments& mine = of_lane[me.lane];
    load_matrices(mine.plain, row);
    load_matrices_transposed(mine.transposed, row);
    mine.moved = transpose_8x8(mine.plain[2]);
  });
  for (unsigned lane = 0; lane < 32; ++lane) {
    const unsigned group = lane / 4, member = lane % 4;
    for (unsigned m = 0; m < 4; ++m) {
      CHECK(low(of_lane[lane].plain[m]) == 64 * m + 8 * group + 2 * member);
      CHECK(high(of_lane[lane].plain[m]) == 64 * m + 8 * group + 2 * member + 1);
      CHECK(low(of_lane[lane].transposed[m]) == 64 * m + 8 * (2 * member) + group);
      CHECK(high(of_lane[lane].transposed[m]) == 64 * m + 8 * (2 * member + 1) + group);
    }
    CHECK(of_lane[lane].moved == of_lane[lane].transposed[2]);
  }
}

TEST_CASE("mma multiplies 16x16 by 16x8") {
  test::Random random(2);
  const bool half = GENERATE(false, true);
  float A[16][16], B[16][8], C[16][8], D[16][8] = {};
  const auto pack = [half](float x, float y) { return half ? pack_half(x, y) : pack_bf16(x, y); };
  const auto draw = [&random] { return static_cast<float>(static_cast<int>(random.below(64)) - 32) / 8.0F; };
  for (auto& row : A)
    for (float& x : row) x = draw();
  for (auto& row : B)
    for (float& x : row) x = draw();
  for (auto& row : C)
    for (float& x : row) x = draw();
  test::run_block(32, 0, [&] {
    const Lane me;
    const unsigned g = me.group, t = 2 * me.member;
    const std::uint32_t a[4] = {pack(A[g][t], A[g][t + 1]), pack(A[g + 8][t], A[g + 8][t + 1]),
                                pack(A[g][t + 8], A[g][t + 9]), pack(A[g + 8][t + 8], A[g + 8][t + 9])};
    const std::uint32_t b0 = pack(B[t][g], B[t + 1][g]), b1 = pack(B[t + 8][g], B[t + 9][g]);
    float d[4] = {C[g][t], C[g][t + 1], C[g + 8][t], C[g + 8][t + 1]};
    if (half) {
      mma_half(d, a, b0, b1);
    } else {
      mma_bf16(d, a, b0, b1);
    }
    D[g][t] = d[0];
    D[g][t + 1] = d[1];
    D[g + 8][t] = d[2];
    D[g + 8][t + 1] = d[3];
  });
  for (unsigned row = 0; row < 16; ++row) {
    for (unsigned column = 0; column < 8; ++column) {
      float sum = C[row][column];
      for (unsigned k = 0; k < 16; ++k) sum += A[row][k] * B[k][column];
      CHECK(D[row][column] == sum);  // multiples of 1/64: exact in any order
    }
  }
}

TEST_CASE("an asynchronous copy is there after the wait, and its place is nobody's before") {
  alignas(16) std::array<float, 8> source = {1, 2, 3, 4, 5, 6, 7, 8};
  std::array<float, 6> seen{};
  test::run_block(32, 64, [&] {
    TTT_DYNAMIC_SHARED(shared);
    auto* floats = reinterpret_cast<float*>(shared);
    if (threadIdx.x == 0) {
      floats[0] = 9.0F;
      copy_async_16(floats, source.data());
      commit_copies();
      copy_async_16(floats + 4, source.data() + 4, false);
      copy_async_4(floats + 8, source.data() + 5);
      commit_copies();
      seen[0] = floats[0];  // neither the old value nor the new one
      wait_copies<1>();
      seen[1] = floats[0];
      seen[2] = floats[4];  // of the group that is still on its way
      wait_copies<0>();
      seen[3] = floats[7];
      seen[4] = floats[8];
      seen[5] = floats[9];  // shared memory that nobody wrote
    }
  });
  CHECK(std::isnan(seen[0]));
  CHECK(seen[1] == 1.0F);
  CHECK(std::isnan(seen[2]));
  CHECK(seen[3] == 0.0F);
  CHECK(seen[4] == 6.0F);
  CHECK(std::isnan(seen[5]));
}

TEST_CASE("barriers: a block, part of a block, a producer that does not wait") {
  for (const unsigned seed : {0U, 1U, 2U, 3U}) {
    const test::ThreadOrder order(seed);
    std::array<int, 128> sums{};
    test::run_block(128, 128 * sizeof(int), [&] {
      TTT_DYNAMIC_SHARED(shared);
      auto* numbers = reinterpret_cast<int*>(shared);
      const unsigned i = threadIdx.x;
      numbers[i] = static_cast<int>(i);
      sync_block();
      int sum = numbers[127 - i];
      sync_block();
      if (i < 64) {  // warps 0 and 1 write, 2 and 3 read
        numbers[i] = 1000;
        arrive_named(1, 128);
      } else {
        sync_named(1, 128);
        sum += numbers[i - 64];
        sync_named(2, 64);
      }
      sums[i] = sum;
    });
    for (unsigned i = 0; i < 128; ++i) CHECK(sums[i] == static_cast<int>(127 - i + (i < 64 ? 0 : 1000)));
  }
}

TEST_CASE("two fp16 numbers are subtracted and multiplied at once, each rounded by itself") {
  test::Random random(7);
  for (int i = 0; i < 1000; ++i) {
    const float a = load_half(low(pack_half(static_cast<float>(8.0 * random.symmetric()), 0.0F)));
    const float b = load_half(low(pack_half(static_cast<float>(random.symmetric()), 0.0F)));
    const std::uint32_t ab = pack_half(a, b), ba = pack_half(b, a);
    CHECK(subtract_halves(ab, ba) == pack_half(a - b, b - a));
    CHECK(multiply_halves(ab, ab) == pack_half(a * a, b * b));
  }
}

TEST_CASE("two of four bytes are spread over the halves of a register") {
  CHECK(spread_bytes(0x44332211U, 0) == 0x00220011U);
  CHECK(spread_bytes(0x44332211U, 2) == 0x00440033U);
}

}  // namespace ttt::cuda
