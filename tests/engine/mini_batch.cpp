// SPDX-License-Identifier: Apache-2.0
#include "engine/mini_batch.h"

#include <catch2/catch.hpp>
#include <cstdint>

using namespace ttt;

TEST_CASE("the phase counts the tokens of the open mini-batch") {
  CHECK(phase_of(0, 16) == 0);
  CHECK(phase_of(15, 16) == 15);
  CHECK(phase_of(16, 16) == 0);
  CHECK(phase_of((std::int64_t{1} << 40) + 5, 16) == 5);
  CHECK(phase_of(7, 1) == 0);
}

TEST_CASE("only tokens of the open mini-batch can be dropped") {
  CHECK(same_mini_batch(35, 32, 16));
  CHECK(same_mini_batch(35, 35, 16));
  CHECK(same_mini_batch(32, 32, 16));
  CHECK_FALSE(same_mini_batch(32, 31, 16));
  CHECK_FALSE(same_mini_batch(35, 31, 16));
  CHECK_FALSE(same_mini_batch(32, 35, 16));
  CHECK_FALSE(same_mini_batch(3, -1, 16));
}
