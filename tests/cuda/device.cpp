// SPDX-License-Identifier: Apache-2.0
// What the emulator's bodies of device.cuh do beyond the hardware's, and under any order of threads. What
// both must do is in primitives.cpp.
#include "cuda/kernels/device.cuh"

#include <array>
#include <catch2/catch.hpp>
#include <cmath>

#include "tests/cuda/run_kernel.h"

namespace ttt::cuda {

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

}  // namespace ttt::cuda
