// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_page.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using weights::contains;

BenchReport report_at(std::vector<std::size_t> depths) {
  BenchReport report;
  report.model = "<b>&\"name\".gguf";
  report.limits.read_bytes_per_second = report.limits.flops_per_second = 1e3;
  for (const std::size_t depth : depths) {
    report.rows.push_back({.tokens = 4, .depth = depth, .seconds = {0.4, 0.41}, .step_seconds = {0.1}});
    report.rows.back().bytes = 200.0;
  }
  return report;
}

TEST_CASE("a page shows a name as text, whatever it is") {
  const std::string page = to_html(report_at({0}), nullptr);
  CHECK(contains(page, "&lt;b&gt;&amp;&quot;name&quot;.gguf"));
  CHECK_FALSE(contains(page, "<b>&"));
}

TEST_CASE("a page has a point for each depth, and the limit below it") {
  const std::string page = to_html(report_at({0, 2048, 8192}), nullptr);
  CHECK(contains(page, ">2k</text>"));
  CHECK(contains(page, "1 sequence, 8k: 101.2 ms"));
  CHECK(contains(page, "class=\"line limit\""));
  CHECK_FALSE(contains(page, "class=\"line before\""));
  CHECK(contains(page, "from 2048 to 8192 tokens read"));
  CHECK_FALSE(contains(page, "nan"));
  CHECK_FALSE(contains(page, "inf"));
}

TEST_CASE("an earlier report is drawn beside it") {
  const BenchReport before = report_at({0, 2048});
  const std::string page = to_html(report_at({0, 2048}), &before);
  CHECK(contains(page, "class=\"line before\""));
  CHECK(contains(page, "<td>+0.0 %<td>"));
}

TEST_CASE("a bench that was cut short is a page of what there is") {
  CHECK(contains(to_html(report_at({}), nullptr), "<h2>All rows</h2>"));
}

}  // namespace
}  // namespace ttt::cli
