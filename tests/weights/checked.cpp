// SPDX-License-Identifier: Apache-2.0
#include "weights/checked.h"

#include <catch2/catch.hpp>
#include <limits>
#include <vector>

namespace ttt::weights {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

TEST_CASE("checked sizes: size arithmetic gives the exact result or none") {
  CHECK(checked_add(kMax - 1, 1) == kMax);
  CHECK_FALSE(checked_add(kMax, 1));
  CHECK_FALSE(checked_add(kMax, kMax));
  CHECK(checked_mul(1ULL << 32, (1ULL << 32) - 1) == kMax - ((1ULL << 32) - 1));
  CHECK_FALSE(checked_mul(1ULL << 32, 1ULL << 32));
  CHECK(checked_mul(kMax, 0) == 0U);
}

TEST_CASE("checked sizes: a product of extents is 1 for none and empty when a step wraps") {
  const auto product = [](const std::vector<std::uint64_t>& extents) { return checked_product(extents); };
  CHECK(product({}) == 1U);
  CHECK(product({3, 0, 5}) == 0U);
  CHECK(product({1ULL << 20, 1ULL << 20, 1ULL << 23}) == 1ULL << 63);
  CHECK_FALSE(product({1ULL << 20, 1ULL << 20, 1ULL << 24}));
  CHECK_FALSE(product({1ULL << 32, 1ULL << 32, 0}));  // wraps before the zero: refused, whatever follows
}

TEST_CASE("checked sizes: aligning up never wraps to a small number") {
  CHECK(checked_align_up(0, 32) == 0U);
  CHECK(checked_align_up(1, 32) == 32U);
  CHECK(checked_align_up(32, 32) == 32U);
  CHECK(checked_align_up(kMax - 31, 32) == kMax - 31);
  CHECK_FALSE(checked_align_up(kMax - 30, 32));
  CHECK_FALSE(checked_align_up(kMax, 32));
}

TEST_CASE("checked sizes: a range fits only if its end does, also where the sum would wrap") {
  CHECK(range_fits(0, 10, 10));
  CHECK(range_fits(10, 0, 10));
  CHECK_FALSE(range_fits(1, 10, 10));
  CHECK_FALSE(range_fits(11, 0, 10));
  CHECK_FALSE(range_fits(kMax, 1, 10));
  CHECK_FALSE(range_fits(1, kMax, 10));
}

}  // namespace
}  // namespace ttt::weights
