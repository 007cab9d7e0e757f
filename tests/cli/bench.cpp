// SPDX-License-Identifier: Apache-2.0
#include "cli/bench.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/exit_code.h"
#include "cli/processor_time.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using nlohmann::json;
using test::id_model;
using test::Outcome;
using test::run_program;
using weights::contains;
using weights::TemporaryFolder;

TEST_CASE("a bench has a row for every prompt, depth and batch, with all repetitions") {
  const Outcome outcome = run_program(
      {"bench", id_model(), "-p", "20,40", "-d", "0,33", "-b", "1,3", "-n", "4", "-r", "2", "-o", "json"});
  REQUIRE(outcome.code == kOk);
  const json report = json::parse(outcome.out);
  CHECK(report.at("schema") == 1);
  CHECK(report.at("model").at("family") == "TTT-Linear");
  CHECK(report.at("device").at("read_bytes_per_second").get<double>() > 0.0);
  CHECK(report.at("device").at("flops_per_second").get<double>() > 0.0);
  CHECK(report.at("memory").at("peak_bytes").get<double>() > 0.0);
  const json& rows = report.at("rows");
  REQUIRE(rows.size() == 2 + 2 * 2);
  CHECK(rows[0].at("test") == "prefill");
  CHECK(rows[0].at("tokens") == 20);
  CHECK(rows[1].at("tokens") == 40);
  CHECK(rows[1].at("first_token_seconds") > rows[0].at("first_token_seconds"));
  for (std::size_t i = 2; i < 6; ++i) {
    CHECK(rows[i].at("test") == "decode");
    CHECK(rows[i].at("depth") == (i % 2 == 0 ? 0 : 33));
    CHECK(rows[i].at("batch") == (i < 4 ? 1 : 3));
    CHECK(rows[i].at("read_bytes_per_second").size() == 2);
    CHECK(rows[i].at("step_seconds").at("p50") <= rows[i].at("step_seconds").at("p99"));
  }
  for (const json& row : rows) {
    CHECK(row.at("seconds").size() == 2);
    CHECK(row.at("tokens_per_second").get<double>() > 0.0);
    CHECK(row.at("processors_taken_by_others").get<double>() <= 1.0);
  }
}

TEST_CASE("a bench for people is a table under what was measured on what") {
  const Outcome outcome = run_program({"bench", id_model(), "-p", "20", "-n", "4", "-r", "1"});
  CHECK(outcome.code == kOk);
  for (const char* part : {"model    ", "machine  ", "limits   read ", "memory   ", "| prefill 20 | 0 | 1 |",
                           "| decode 4 | 0 | 1 |", "of limit"}) {
    INFO(part);
    CHECK(contains(outcome.out, part));
  }
}

TEST_CASE("a bench that cannot be is refused with the option's name") {
  const auto refused = [](std::vector<std::string> arguments, const char* part) {
    arguments.insert(arguments.begin(), "bench");
    const Outcome outcome = run_program(arguments);
    CAPTURE(outcome.err);
    CHECK(outcome.code == kUsage);
    CHECK(contains(outcome.err, part));
    CHECK(outcome.out.empty());
  };
  refused({id_model(), "-p", "12,x"}, "--prefill: wanted integers");
  refused({id_model(), "-d", "-1"}, "--depth");
  refused({id_model(), "-b", "0"}, "--batch-sizes: wanted integers from 1");
  refused({id_model(), "-p", "0", "-n", "0"}, "nothing to measure");
  refused({"--random", "7b"}, "wanted one of 125m");
  refused({id_model(), "--random", "125m"}, "not both");
  refused({"--random", "125m", "--packed-cache", "cache"}, "made anew each time");
  refused({}, "no model given");
}

TEST_CASE("what does not fit into memory is told by a plan, before anything is made") {
  const Outcome outcome = run_program({"bench", "--random", "1.3b-mlp", "-b", "4096", "-d", "0"});
  CHECK(outcome.code == kOutOfMemory);
  CHECK(contains(outcome.err, "states of 4096 sequences"));
  CHECK(contains(outcome.err, "can be had"));
}

TEST_CASE("the peak of memory is the bench's own, whoever starts it") {
  const std::vector<char> ballast(std::size_t{256} << 20, 1);
  const Outcome outcome = run_program({"bench", id_model(), "-p", "16", "-n", "0", "-o", "json"});
  REQUIRE(outcome.code == kOk);
  const auto peak = json::parse(outcome.out).at("memory").at("peak_bytes").get<std::size_t>();
  CHECK(peak > std::size_t{1} << 20);
  CHECK(peak < ballast.size());
}

TEST_CASE("Ctrl-C ends a bench with the rows that are whole") {
  test::Child child({"bench", id_model(), "-p", "16", "-n", "1000000", "-v"});
  REQUIRE(child.read_errors_until("workspace"));
  ::usleep(300'000);
  child.signal(SIGINT);
  const Outcome outcome = child.wait();
  CHECK(outcome.code == kInterrupted);
  CHECK(contains(outcome.out, "model    "));
  CHECK_FALSE(contains(outcome.out, "| decode"));
}

TEST_CASE("the share of other programs comes from /proc/stat, and is 0 where there is none") {
  const TemporaryFolder folder;
  ProcessorTime nowhere(folder / "nothing");
  CHECK(nowhere.taken_by_others() == 0.0);
  std::filesystem::create_directories(folder / "proc");
  const auto write = [&](const std::string& line) { folder.write("proc/stat", line); };
  write("cpu 100000 0 0 100000 0 0 0 0 0 0\ncpu0 1 1\n");
  ProcessorTime processors(folder.path());
  // 60 more idle, 10 user, 20 system, 10 stolen: this process itself took next to nothing.
  write("cpu 100010 0 20 100060 0 0 0 10 0 0\n");
  CHECK(processors.taken_by_others() == Approx(0.4).margin(0.05));
  write("cpu 5 garbage\n");
  CHECK(processors.taken_by_others() == 0.0);
}

TEST_CASE("a bench is a page, numbers or lines, as asked") {
  const auto output = [](const char* format) {
    const Outcome outcome =
        run_program({"bench", id_model(), "-p", "20", "-d", "8,16", "-n", "2", "-r", "2", "-o", format});
    CHECK(outcome.code == kOk);
    return outcome.out;
  };
  const std::string page = output("html");
  CHECK(page.starts_with("<!doctype html>"));
  CHECK(contains(page, "<svg"));
  CHECK_FALSE(contains(page, "http"));  // needs no network
  const std::string numbers = output("csv");
  CHECK(std::ranges::count(numbers, '\n') == 4);
  const std::string lines = output("jsonl");
  CHECK(std::ranges::count(lines, '\n') == 3);
  CHECK(json::parse(lines.substr(0, lines.find('\n'))).at("test") == "prefill");
}

TEST_CASE("a bench is compared with an earlier one") {
  const TemporaryFolder folder;
  const std::vector<std::string> words = {"bench", id_model(), "-p", "20", "-n", "2", "-r", "2"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), words.begin(), words.end());
    return run_program(more);
  };
  const std::string before = folder.write("before.json", with({"-o", "json"}).out);
  const Outcome table = with({"--compare", before});
  CHECK(table.code == kOk);
  CHECK(contains(table.out, "compared with the report of "));
  CHECK(contains(table.out, "time changes by"));
  CHECK(contains(with({"--compare", before, "-o", "html"}).out, "Pale: the report of "));
  CHECK(contains(with({"--compare", before, "-o", "csv"}).err, "in the outputs md and html alone"));
  const Outcome broken = with({"--compare", folder.write("no.json", "{}")});
  CHECK(broken.code == kRuntimeError);
  CHECK(contains(broken.err, "Give a file that ttt bench -o json wrote."));
  const Outcome missing = with({"--compare", folder / "nowhere.json"});
  CHECK(missing.code == kRuntimeError);  // no fault of the model
  CHECK(contains(missing.err, "no such file"));
}

}  // namespace
}  // namespace ttt::cli
