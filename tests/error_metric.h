// SPDX-License-Identifier: Apache-2.0
// How far a tensor is from its reference, in the two metrics that every tolerance is stated in.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace ttt::test {

inline std::vector<double> to_doubles(std::span<const float> values) {
  return {values.begin(), values.end()};
}

inline double norm(std::span<const double> values) {
  double sum = 0.0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

inline double rms(std::span<const double> values) {
  return values.empty() ? 0.0 : norm(values) / std::sqrt(static_cast<double>(values.size()));
}

// NaN anywhere, or a different size, gives infinity: such a result never passes a tolerance.
inline double max_difference(std::span<const double> actual, std::span<const double> reference) {
  if (actual.size() != reference.size()) return std::numeric_limits<double>::infinity();
  double largest = 0.0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double difference = std::abs(actual[i] - reference[i]);
    if (!(difference <= largest))
      largest = std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference;
  }
  return largest;
}

// max |actual - reference| / rms(reference); 0 / 0 is 0.
inline double max_over_rms(std::span<const double> actual, std::span<const double> reference) {
  const double difference = max_difference(actual, reference);
  return difference == 0.0 ? 0.0 : difference / rms(reference);
}

// |actual - reference| / |reference - origin| in L2: for fast weights the origin is where they started, so
// that the figure is relative to what was learned. 0 / 0 is 0.
inline double relative_l2(std::span<const double> actual, std::span<const double> reference,
                          std::span<const double> origin) {
  if (actual.size() != reference.size() || actual.size() != origin.size()) {
    return std::numeric_limits<double>::infinity();
  }
  std::vector<double> difference(actual.size()), learned(actual.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    difference[i] = actual[i] - reference[i];
    learned[i] = reference[i] - origin[i];
  }
  const double error = norm(difference);
  return error == 0.0 ? 0.0 : error / norm(learned);
}

// log(sum(exp(logits)))
inline double log_sum_exp(std::span<const double> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const double logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

// KL(reference | actual) of the distributions that rows of logits stand for, in nats, the mean over the rows.
// NaN anywhere, or a different size, gives infinity.
inline double mean_divergence(std::span<const double> actual, std::span<const double> reference,
                              std::size_t vocab_size) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (actual.size() != reference.size()) return kInfinity;
  double total = 0.0;
  for (std::size_t first = 0; first < reference.size(); first += vocab_size) {
    const std::span<const double> p = reference.subspan(first, vocab_size);
    const std::span<const double> q = actual.subspan(first, vocab_size);
    const double normaliser_p = log_sum_exp(p), normaliser_q = log_sum_exp(q);
    for (std::size_t i = 0; i < vocab_size; ++i) {
      const double log_p = p[i] - normaliser_p, log_q = q[i] - normaliser_q;
      total += std::exp(log_p) * (log_p - log_q);
    }
  }
  return std::isnan(total) ? kInfinity : total / static_cast<double>(reference.size() / vocab_size);
}

}  // namespace ttt::test
