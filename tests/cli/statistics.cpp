// SPDX-License-Identifier: Apache-2.0
#include "cli/statistics.h"

#include <catch2/catch.hpp>
#include <vector>

namespace ttt::cli {

// Tables of Student's t: 97.5 % at 2 degrees of freedom is 4.302653, at 4 it is 2.776445.
TEST_CASE("the interval of a mean is that of Student's t") {
  const std::vector<double> values = {1.0, 2.0, 3.0};  // variance 1, so 1 / 3 of the mean
  const Interval interval = mean_interval(values);
  CHECK(interval.mean == 2.0);
  CHECK(interval.high - 2.0 == Approx(4.302653 * 0.5773503));
  CHECK(2.0 - interval.low == Approx(4.302653 * 0.5773503));
}

TEST_CASE("equal values leave no doubt") {
  const std::vector<double> values = {0.5, 0.5, 0.5};
  const Interval interval = mean_interval(values);
  CHECK(interval.low == 0.5);
  CHECK(interval.high == 0.5);
}

TEST_CASE("the interval of a difference is Welch's") {
  const std::vector<double> before = {1.0, 2.0, 3.0};
  const std::vector<double> after = {11.0, 12.0, 13.0};  // equal variances: 4 degrees of freedom
  const Interval interval = difference_interval(before, after);
  CHECK(interval.mean == 10.0);
  CHECK(interval.high - 10.0 == Approx(2.776445 * 0.8164966));
  const Interval back = difference_interval(after, before);
  CHECK(back.low == Approx(-interval.high));
}

}  // namespace ttt::cli
