// SPDX-License-Identifier: Apache-2.0
// What a comparison bit by bit says where something differs: it is all that shows of two long rows of
// numbers.
#include "tests/same_bits.h"

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace ttt::test {
namespace {

template <typename T>
std::string difference(const std::vector<T>& found, const std::vector<T>& wanted) {
  return Catch::Detail::stringify(same_bits(found, wanted));
}

}  // namespace

TEST_CASE("a comparison bit by bit says how many elements differ, which is the first and by how much") {
  CHECK(difference<float>({1, 2, 5, 4}, {1, 2.5F, 3, 4}) ==
        "2 of 4 differ, the first is number 1: 2, not 2.5; by at most 2");
  CHECK(difference<std::uint16_t>({1, 2}, {1, 65535}) ==
        "1 of 2 differ, the first is number 1: 2, not 65535");
  CHECK(difference<std::byte>({std::byte{7}}, {std::byte{9}}) ==
        "1 of 1 differ, the first is number 0: 7, not 9");
  CHECK(difference<double>({1}, {1, 2}) == "1 elements, not 2");
  CHECK(difference<float>({}, {}) == "the same bits");
}

TEST_CASE("bit by bit NaN equals itself, and 0 differs from -0") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(same_bits(std::vector{nan, 1.0F}, std::vector{nan, 1.0F}));
  CHECK(difference<float>({0.0F}, {-0.0F}) ==
        "1 of 1 differ, the first is number 0: 0, not -0; by at most 0");
  CHECK(difference<float>({nan, 1.0F}, {2.0F, 1.0F}) ==
        "1 of 2 differ, the first is number 0: nan, not 2; by at most inf");
}

}  // namespace ttt::test
