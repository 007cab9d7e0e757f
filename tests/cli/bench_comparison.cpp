// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_comparison.h"

#include <catch2/catch.hpp>
#include <string>

#include "cli/json_output.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using weights::contains;
using weights::TemporaryFolder;

BenchReport report_with(std::vector<double> decode_seconds) {
  BenchReport report;
  report.time = "2026-01-01T00:00:00Z";
  report.model = "model.gguf";
  report.backend.device_name = "a processor";
  report.limits.read_bytes_per_second = report.limits.flops_per_second = 1.0;
  report.rows.resize(2);
  report.rows[0] = {.kind = BenchRow::Kind::kPrefill, .tokens = 512, .seconds = {2.0, 2.0}};
  report.rows[1] = {
      .tokens = 10, .depth = 64, .batch = 4, .seconds = decode_seconds, .step_seconds = decode_seconds};
  return report;
}

TEST_CASE("a report that was written is read again") {
  const TemporaryFolder folder;
  const BenchReport report = read_report(folder.write("a.json", to_json(report_with({1.0, 3.0}))));
  CHECK(report.time == "2026-01-01T00:00:00Z");
  CHECK(report.model == "model.gguf");
  CHECK(report.backend.device_name == "a processor");
  REQUIRE(report.rows.size() == 2);
  CHECK(report.rows[0].kind == BenchRow::Kind::kPrefill);
  CHECK(report.rows[0].tokens == 512);
  CHECK(report.rows[1].kind == BenchRow::Kind::kDecode);
  CHECK(report.rows[1].depth == 64);
  CHECK(report.rows[1].batch == 4);
  CHECK(report.rows[1].seconds == std::vector<double>{1.0, 3.0});
}

TEST_CASE("a file that is no report is refused with what it lacks") {
  const TemporaryFolder folder;
  for (const char* text : {"", "[]", "{\"rows\":[]}", "{\"rows\":[{\"tokens\":1}]}", "{\"rows\":[{}",
                           R"({"rows":[{"tokens":1,"batch":1,"seconds":[-1.0]}]})",
                           R"({"rows":[{"tokens":1,"batch":1,"seconds":["a"]}]})"}) {
    INFO(text);
    CHECK_THROWS_WITH(
        read_report(folder.write("a.json", text)),
        Catch::Contains("a.json") && Catch::Contains("Give a file that ttt bench -o json wrote."));
  }
}

TEST_CASE("a change is a share of the earlier time, with its interval") {
  const BenchReport before = report_with({1.0, 1.0, 1.0});
  const BenchReport now = report_with({1.1, 1.2, 1.3});
  const auto change = change_since(before, now.rows[1]);
  REQUIRE(change);
  CHECK(change->change.mean == Approx(0.2));
  CHECK(change->has_interval);
  CHECK(change->change.low < 0.2);
  const auto once = change_since(report_with({1.0}), now.rows[1]);
  REQUIRE(once);
  CHECK_FALSE(once->has_interval);
  CHECK(once->change.mean == Approx(0.2));
  BenchRow other = now.rows[1];
  other.depth = 65;
  CHECK_FALSE(change_since(before, other));
  other = now.rows[0];
  other.tokens = 513;
  CHECK_FALSE(change_since(before, other));
}

TEST_CASE("another model and another machine are said") {
  const BenchReport before = report_with({1.0, 1.0});
  BenchReport now = report_with({1.0, 1.0});
  CHECK(difference_of_setting(before, now).empty());
  now.model = "other.gguf";
  now.backend.device_name = "another";
  const std::string table = compare_markdown(before, now);
  CHECK(contains(table, "of another model, model.gguf."));
  CHECK(contains(table, "of another machine, a processor."));
  CHECK(contains(table, "| decode 10 | 64 | 4 | 100.000 | 100.000 | +0.0 % | +0.0 to +0.0 |"));
}

}  // namespace
}  // namespace ttt::cli
