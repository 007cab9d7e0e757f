// SPDX-License-Identifier: Apache-2.0
#include "cli/load_plan.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

namespace ttt::cli {

namespace {

LoadShape shape() {
  return {.rate = 10.0, .burstiness = 1.0, .prompt = {5, 9}, .output = {1, 3}, .vocab_size = 50, .seed = 7};
}

std::vector<double> gaps(const LoadShape& shape, int count) {
  LoadPlan plan(shape);
  std::vector<double> gaps;
  double last = plan.next().seconds;
  for (int i = 0; i < count; ++i) {
    const double seconds = plan.next().seconds;
    gaps.push_back(seconds - std::exchange(last, seconds));
  }
  return gaps;
}

double mean(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double variation(const std::vector<double>& values) {  // deviation over mean
  const double middle = mean(values);
  double squares = 0.0;
  for (const double value : values) squares += (value - middle) * (value - middle);
  return std::sqrt(squares / static_cast<double>(values.size())) / middle;
}

}  // namespace

TEST_CASE("a plan has lengths and ids of its shape, each of them in time") {
  LoadPlan plan(shape());
  std::vector<std::size_t> lengths;
  std::vector<std::int64_t> outputs;
  std::int32_t least = 1000, most = 0;
  for (std::uint64_t i = 0; i < 500; ++i) {
    const PlannedRequest request = plan.next();
    CHECK(request.index == i);
    lengths.push_back(request.prompt.size());
    outputs.push_back(request.output_tokens);
    least = std::min(least, *std::ranges::min_element(request.prompt));
    most = std::max(most, *std::ranges::max_element(request.prompt));
  }
  for (const std::size_t length : {5U, 6U, 7U, 8U, 9U}) CHECK(std::ranges::count(lengths, length) > 50);
  CHECK(std::ranges::all_of(lengths, [](std::size_t length) { return length >= 5 && length <= 9; }));
  for (const std::int64_t output : {1, 2, 3}) CHECK(std::ranges::count(outputs, output) > 80);
  CHECK(least == LoadPlan::kFirstId);
  CHECK(most == 49);
}

TEST_CASE("a plan is a function of its seed") {
  LoadPlan one(shape()), same(shape());
  LoadShape changed = shape();
  ++changed.seed;
  LoadPlan other(changed);
  bool differs = false;
  for (int i = 0; i < 20; ++i) {
    const PlannedRequest request = one.next(), again = same.next(), another = other.next();
    CHECK(request.prompt == again.prompt);
    CHECK(request.seconds == again.seconds);
    CHECK(request.output_tokens == again.output_tokens);
    differs = differs || request.prompt != another.prompt;
  }
  CHECK(differs);
}

TEST_CASE("requests arrive at the rate, as unevenly as the burstiness says") {
  // Of 20,000 gaps with variation v the mean is off by v / 141 of itself; five times that is never seen.
  for (const double burstiness : {0.25, 1.0, 16.0}) {
    LoadShape bursty = shape();
    bursty.burstiness = burstiness;
    const std::vector<double> all = gaps(bursty, 20'000);
    const double expected = 1.0 / std::sqrt(burstiness);
    CHECK(mean(all) == Approx(0.1).epsilon(5.0 * expected / 141.0));
    CHECK(variation(all) == Approx(expected).epsilon(0.1));
  }
  LoadShape closed = shape();
  closed.rate = 0.0;
  CHECK(gaps(closed, 10) == std::vector<double>(10, 0.0));
}

}  // namespace ttt::cli
