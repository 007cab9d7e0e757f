// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_report.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli/bench_page.h"
#include "cli/json_output.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using weights::contains;

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
  report.limits.read_bytes_per_second = 100.0;
  report.limits.flops_per_second = 1000.0;
  row.bytes = 100.0;
  row.flops = 500.0;
  CHECK(report.share_of_limit(row) == 0.5);  // a second to read, half a second to compute
  row.flops = 2500.0;
  row.product_ops = 2000.0;
  CHECK(report.share_of_limit(row) == 1.25);  // half a second and two
  report.limits.int8_ops_per_second = 2000.0;
  CHECK(report.share_of_limit(row) == 1.25);
  report.products = Arithmetic::kInt8;
  CHECK(report.share_of_limit(row) == 0.75);  // half a second and one
  report.products = report.inner_loop = Arithmetic::kHalf;
  CHECK_FALSE(report.share_of_limit(row).has_value());  // that rate was not measured
  report.limits.half_flops_per_second = 5000.0;
  CHECK(report.share_of_limit(row) == 0.5);  // a second to read, half a second to compute
}

TEST_CASE("a repetition is measured by the rate at which the machine read meanwhile") {
  BenchReport report;
  report.limits.read_bytes_per_second = 100.0;
  report.limits.flops_per_second = 1000.0;
  BenchRow row = decode_row(0, {2.0, 4.0});
  row.bytes = 100.0;
  row.flops = 1500.0;
  CHECK(report.seconds_to_read(row) == 1.0);  // at the machine's best
  CHECK(report.seconds_to_compute(row) == 1.5);
  CHECK(report.share_of_limit(row) == 0.5);
  row.read_rates = {100.0, 25.0};  // memory was slow in the second
  CHECK(report.seconds_to_read(row) == 2.5);
  CHECK(report.share_of_limit(row) == Approx((1.5 + 4.0) / 2.0 / 3.0));  // the longer of the two in each
  report.rows = {row};
  CHECK(contains(to_markdown(report), "| 250.00 | 150.00 | 92 % |"));  // ms a step
  CHECK(contains(to_csv(report), ",250.0000,150.0000,0.9167,"));
  const auto parsed = nlohmann::json::parse(to_json(report)).at("rows").at(0);
  CHECK(parsed.at("read_bytes_per_second") == nlohmann::json({100.0, 25.0}));
  CHECK(parsed.at("seconds_to_read") == 2.5);
  CHECK(parsed.at("seconds_to_compute") == 1.5);
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
  report.limits.read_bytes_per_second = report.limits.flops_per_second = 1.0;
  report.rows = {decode_row(5, {1.0, 3.0})};
  const std::string text = to_csv(report);
  CHECK(text.find("\n2026-01-01T00:00:00Z,\"my \"\"best\"\", v2.gguf\",TTT-MLP,") != std::string::npos);
  CHECK(text.find(",decode,10,5,1,5.0000,") != std::string::npos);
}

// As a GPU's, on which there was no memory to measure what it could do at best: no threads compute.
BenchReport device_report() {
  BenchReport report;
  report.model = "a model";
  report.family = "TTT-Linear";
  report.precision = "BF16";
  report.backend.device = "cuda:0";
  report.backend.device_name = "NVIDIA H200";
  report.backend.dispatch_target = "sm_90-fast";
  report.processors = 16;
  report.rows = {decode_row(0, {0.1, 0.2}), decode_row(1000, {0.1, 0.2}), decode_row(2000, {0.1, 0.2})};
  report.rows.push_back({.kind = BenchRow::Kind::kPrefill, .tokens = 512, .seconds = {0.5, 0.6}});
  return report;
}

bool shows_no_number(std::string_view text) {
  return text.find("nan") != std::string_view::npos || text.find("inf") != std::string_view::npos;
}

TEST_CASE("a bench of a device names it, and says nothing of processors and unknown limits") {
  const BenchReport report = device_report();
  const std::string text = to_markdown(report);
  CHECK(contains(text, "\nmachine  NVIDIA H200 (cuda:0), kernels for sm_90-fast\nmemory   "));
  CHECK_FALSE(contains(text, "threads"));
  CHECK_FALSE(contains(text, "limits "));
  CHECK(contains(text, "| 0.55 s |  |  |  | 0 % |"));  // first token, to read, to compute, of limit, others
  const std::string page = to_html(report, &report);
  CHECK(contains(page, "<p>NVIDIA H200 (cuda:0), kernels for sm_90-fast; "));
  CHECK(contains(page, "\"soft\">Memory: "));
  CHECK(contains(page, "1 sequence, 1000: 15 ms"));
  for (const char* part : {"threads", "at best", "class=\"line limit\"", "points=\"\""}) {
    INFO(part);
    CHECK_FALSE(contains(page, part));
  }
  CHECK_FALSE(shows_no_number(text));
  CHECK_FALSE(shows_no_number(page));
}

TEST_CASE("what a device has not is empty in a CSV line and null in JSON") {
  const BenchReport report = device_report();
  const std::string csv = to_csv(report);
  CHECK(contains(csv, ",BF16,,decode,10,0,1,"));
  CHECK(contains(csv, ",200.0000,,,,0.0000\n"));  // the slowest step, no limits, nothing taken by others
  CHECK(contains(csv, ",,,,,,,0.0000\n"));        // a prompt has no steps
  CHECK_FALSE(shows_no_number(csv));
  const auto parsed = nlohmann::json::parse(to_json(report));
  for (const char* key : {"threads", "read_bytes_per_second", "flops_per_second", "int8_ops_per_second",
                          "half_flops_per_second"}) {
    INFO(key);
    CHECK(parsed.at("device").at(key).is_null());
  }
  CHECK(parsed.at("device").at("name") == "NVIDIA H200");
  CHECK(parsed.at("rows").at(0).at("share_of_limit").is_null());
  const std::string lines = to_json_lines(report);
  const auto line = nlohmann::json::parse(lines.substr(0, lines.find('\n')));
  CHECK(line.at("threads").is_null());
  CHECK(line.at("share_of_limit").is_null());
  CHECK(line.at("device") == "NVIDIA H200");
}

TEST_CASE("a bench of a device has its limits and shares everywhere") {
  BenchReport report = device_report();
  report.limits = {.read_bytes_per_second = 4e12, .flops_per_second = 6e13, .half_flops_per_second = 7e14};
  report.products = report.inner_loop = Arithmetic::kHalf;
  for (BenchRow& row : report.rows) row.flops = row.product_ops = 7e14 * 0.075;  // half of 0.15 s
  const std::string text = to_markdown(report);
  CHECK(contains(text,
                 "\nlimits   read 4000.0 GB/s, 60000.0 GFLOP/s fp32, 700.0 TFLOP/s in 16 bits, between the "
                 "rows (best)\n"));
  CHECK(contains(text, "| 50 % |"));
  CHECK_FALSE(contains(text, "threads"));
  CHECK(contains(to_html(report, nullptr), "The machine at best: read 4000.0 GB/s, "));
  CHECK(contains(to_html(report, nullptr), "class=\"line limit\""));
  const auto parsed = nlohmann::json::parse(to_json(report));
  CHECK(parsed.at("device").at("half_flops_per_second") == 7e14);
  CHECK(parsed.at("device").at("int8_ops_per_second").is_null());
  CHECK(parsed.at("rows").at(0).at("share_of_limit").get<double>() == Approx(0.5));
}

TEST_CASE("a bench of processors has their threads, limits and shares everywhere") {
  BenchReport report = device_report();
  report.backend.device_name = "a processor";
  report.backend.num_threads = 4;
  report.limits.read_bytes_per_second = report.limits.flops_per_second = report.limits.int8_ops_per_second =
      1e9;
  for (BenchRow& row : report.rows) row.bytes = 0.75e8;  // half of 0.15 s
  const std::string text = to_markdown(report);
  CHECK(contains(
      text,
      "machine  a processor, 4 threads on 16 processors, kernels for sm_90-fast\nlimits   read 1.0 GB/s"));
  CHECK(contains(text, "| 50 % |"));
  const std::string page = to_html(report, nullptr);
  CHECK(contains(page, "The machine at best: read 1.0 GB/s"));
  CHECK(contains(page, "class=\"line limit\""));
  CHECK(contains(to_csv(report), ",BF16,4,decode,"));
  CHECK(contains(to_csv(report), ",0.5000,0.0000\n"));
  const auto parsed = nlohmann::json::parse(to_json(report));
  CHECK(parsed.at("device").at("threads") == 4);
  CHECK(parsed.at("device").at("flops_per_second") == 1e9);
  CHECK(parsed.at("rows").at(0).at("share_of_limit").get<double>() == Approx(0.5));
}

}  // namespace
}  // namespace ttt::cli
