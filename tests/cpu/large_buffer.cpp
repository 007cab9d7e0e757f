// SPDX-License-Identifier: Apache-2.0
#include "cpu/large_buffer.h"

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>

#include "cpu/aligned_floats.h"

namespace ttt::cpu {
namespace {

TEST_CASE("memory begins at a cache line, much of it at a large page, and is taken whole") {
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{64}, std::size_t{65}, kMiB - 1, kMiB, 2 * kMiB, 2 * kMiB + 1}) {
    const std::size_t unit = size < kMiB ? 64 : 2 * kMiB;
    const std::size_t taken = large_buffer_bytes(size);
    CHECK(taken % unit == 0);
    CHECK(taken >= size);
    CHECK(taken < size + unit);
    const LargeBuffer buffer = allocate_large(size);
    CHECK(reinterpret_cast<std::uintptr_t>(buffer.get()) % unit == 0);
    std::memset(buffer.get(), 1, taken);
  }
}

TEST_CASE("aligned floats begin at a cache line and keep their values as they grow") {
  AlignedFloats floats;
  for (std::size_t i = 0; i < 300'000; ++i) {
    floats.push_back(static_cast<float>(i));
    if ((i & (i + 1)) == 0) REQUIRE(reinterpret_cast<std::uintptr_t>(floats.data()) % 64 == 0);
  }
  for (std::size_t i = 0; i < floats.size(); ++i) REQUIRE(floats[i] == static_cast<float>(i));
}

}  // namespace
}  // namespace ttt::cpu
