// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_report.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

namespace ttt::cli {
namespace {

BenchRow decode_row(std::size_t depth, std::vector<double> seconds) {
  BenchRow row;
  row.tokens = 10;
  row.depth = depth;
  row.step_seconds = seconds;
  row.seconds = std::move(seconds);
  return row;
}

TEST_CASE("rates, spread and percentiles of a row") {
  BenchRow row;
  row.tokens = 10;
  row.batch = 2;
  row.seconds = {1.0, 2.0, 3.0};
  for (int i = 1; i <= 101; ++i) row.step_seconds.push_back(i);
  CHECK(row.mean_seconds() == 2.0);
  CHECK(row.rate() == 10.0);
  CHECK(row.time_per_token() == 0.2);
  CHECK(row.percentile_step(0.5) == 51.0);
  CHECK(row.percentile_step(0.99) == 100.0);
  BenchReport report;
  report.read_bytes_per_second = 100.0;
  report.flops_per_second = 1000.0;
  row.bytes = 100.0;
  row.flops = 500.0;
  CHECK(report.share_of_limit(row) == 0.5);  // a second to read, half a second to compute
  row.flops = 2500.0;
  row.product_ops = 2000.0;
  CHECK(report.share_of_limit(row) == 1.25);  // half a second and two
  report.int8_ops_per_second = 2000.0;
  CHECK(report.share_of_limit(row) == 1.25);
  report.quantised = true;
  CHECK(report.share_of_limit(row) == 0.75);  // half a second and one
}

// Times on a straight line that rises by a tenth from 1,000 to 3,000, whatever the round's speed.
TEST_CASE("the change of a token's time with the depth is that of a straight line") {
  BenchReport report;
  report.rows = {decode_row(0, {9.0, 9.0, 9.0}), decode_row(1000, {1.0, 2.0, 4.0}),
                 decode_row(2000, {1.05, 2.1, 4.2}), decode_row(3000, {1.1, 2.2, 4.4})};
  const std::vector<Flatness> all = flatness(report);
  REQUIRE(all.size() == 1);
  CHECK(all[0].batch == 1);
  CHECK(all[0].from == 1000);
  CHECK(all[0].to == 3000);
  CHECK(all[0].rounds == 3);
  CHECK(all[0].change.mean == Approx(0.1));
  CHECK(all[0].change.low == Approx(0.1));
  report.rows[3].seconds[0] = 1.0;  // one round is flat now, and the interval wide
  const Interval wide = flatness(report)[0].change;
  CHECK(wide.mean == Approx(0.2 / 3.0).epsilon(0.05));
  CHECK(wide.low < 0.0);
}

TEST_CASE("one depth or one round tell no change") {
  BenchReport report;
  report.rows = {decode_row(0, {1.0, 1.0}), decode_row(1000, {1.0, 1.0})};
  CHECK(flatness(report).empty());
  report.rows = {decode_row(1000, {1.0}), decode_row(2000, {1.0})};
  CHECK(flatness(report).empty());
}

TEST_CASE("a name with commas and quotes is one field of a CSV line") {
  BenchReport report;
  report.time = "2026-01-01T00:00:00Z";
  report.model = "my \"best\", v2.gguf";
  report.family = "TTT-MLP";
  report.read_bytes_per_second = report.flops_per_second = 1.0;
  report.rows = {decode_row(5, {1.0, 3.0})};
  const std::string text = to_csv(report);
  CHECK(text.find("\n2026-01-01T00:00:00Z,\"my \"\"best\"\", v2.gguf\",TTT-MLP,") != std::string::npos);
  CHECK(text.find(",decode,10,5,1,5.0000,") != std::string::npos);
}

}  // namespace
}  // namespace ttt::cli
