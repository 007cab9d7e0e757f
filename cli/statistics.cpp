// SPDX-License-Identifier: Apache-2.0
#include "cli/statistics.h"

#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>

namespace ttt::cli {
namespace {

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Of the mean, squared.
double squared_error(std::span<const double> values) {
  const double mean = mean_of(values);
  double sum = 0.0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  const auto count = static_cast<double>(values.size());
  return sum / (count - 1.0) / count;
}

Interval around(double mean, double squared, double degrees) {
  if (squared == 0.0) return {mean, mean, mean};
  const double quantile = boost::math::quantile(boost::math::students_t(degrees), 0.975);
  const double half = quantile * std::sqrt(squared);
  return {mean, mean - half, mean + half};
}

}  // namespace

Interval mean_interval(std::span<const double> values) {
  return around(mean_of(values), squared_error(values), static_cast<double>(values.size()) - 1.0);
}

Interval difference_interval(std::span<const double> before, std::span<const double> after) {
  const double first = squared_error(before);
  const double second = squared_error(after);
  const double sum = first + second;
  // Welch and Satterthwaite's degrees of freedom.
  const double degrees = sum * sum /
                         (first * first / (static_cast<double>(before.size()) - 1.0) +
                          second * second / (static_cast<double>(after.size()) - 1.0));
  return around(mean_of(after) - mean_of(before), sum, degrees);
}

}  // namespace ttt::cli
