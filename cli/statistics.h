// SPDX-License-Identifier: Apache-2.0
// Means of a few measurements and how far they can be trusted: Student's t.
#pragma once

#include <span>

namespace ttt::cli {

// With 95 % confidence the true mean lies between `low` and `high`, if the measurements are independent and
// spread normally.
struct Interval {
  double mean = 0.0;
  double low = 0.0;
  double high = 0.0;
};

// REQUIRES: two values or more.
Interval mean_interval(std::span<const double> values);

// Of mean(after) - mean(before), whose spreads may differ (Welch). REQUIRES: two values or more in each.
Interval difference_interval(std::span<const double> before, std::span<const double> after);

}  // namespace ttt::cli
