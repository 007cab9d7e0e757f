// SPDX-License-Identifier: Apache-2.0
#include "cli/load_report.h"

#include <catch2/catch.hpp>

namespace ttt::cli {

namespace {

LoadOutcome answered(double sent, double first, double last, std::size_t tokens) {
  LoadOutcome outcome;
  outcome.planned = outcome.sent = sent;
  outcome.first_token = first;
  outcome.last_token = last;
  outcome.prompt_tokens = 10;
  outcome.output_tokens = tokens;
  for (std::size_t i = 1; i < tokens; ++i) {
    outcome.gaps.push_back((last - first) / static_cast<double>(tokens - 1));
  }
  return outcome;
}

}  // namespace

TEST_CASE("percentiles lie between the values as numpy's do") {
  const LoadStatistics values = statistics({4.0, 1.0, 3.0, 2.0});
  CHECK(values.percentile(0.0) == 1.0);
  CHECK(values.percentile(50.0) == 2.5);
  CHECK(values.percentile(90.0) == Approx(3.7));
  CHECK(values.percentile(100.0) == 4.0);
  CHECK(values.mean == 2.5);
  CHECK(values.deviation == Approx(1.1180339887));
  CHECK(values.max == 4.0);
  CHECK(statistics({5.0}).percentile(99.0) == 5.0);
  CHECK(statistics({}).percentile(50.0) == 0.0);
}

TEST_CASE("a report counts what was answered alone and tells every failure") {
  std::vector<LoadOutcome> outcomes = {answered(0.0, 0.1, 0.5, 5), answered(1.0, 1.3, 1.3, 1)};
  LoadOutcome refused;
  refused.planned = 1.0;
  refused.sent = 1.25;
  refused.error = "HTTP 429: later";
  outcomes.push_back(refused);
  outcomes.push_back(refused);
  LoadReport report;
  report.seconds = 2.0;
  report.percentiles = {50.0, 99.9};
  report.goodput = {.ttft = 200.0, .tpot = {}, .e2el = {}};
  summarise(outcomes, report);
  CHECK(report.completed == 2);
  CHECK(report.failed() == 2);
  CHECK(report.prompt_tokens == 20);
  CHECK(report.output_tokens == 6);
  CHECK(report.good == 1);
  CHECK(report.max_lag == Approx(0.25));
  REQUIRE(report.ttft.sorted.size() == 2);
  CHECK(report.ttft.sorted[0] == Approx(100.0));
  CHECK(report.ttft.sorted[1] == Approx(300.0));
  REQUIRE(report.tpot.sorted.size() == 1);  // a single token has no time between tokens
  CHECK(report.tpot.mean == Approx(100.0));
  CHECK(report.itl.sorted.size() == 4);
  CHECK(report.e2el.max == Approx(500.0));
  const std::string text = to_markdown(report);
  CHECK(text.find("failed 2 x: HTTP 429: later") != std::string::npos);
  CHECK(text.find("2 requests answered and 2 failed in 2.00 s: 1.00 requests/s") != std::string::npos);
  CHECK(text.find("6 tokens of answers, 3.0 tokens/s") != std::string::npos);
  CHECK(text.find("| p50 | p99.9 |") != std::string::npos);
}

}  // namespace ttt::cli
