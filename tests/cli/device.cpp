// SPDX-License-Identifier: Apache-2.0
// Commands on a GPU, which the block emulator is: how they end when it fails, and what a bench says of it.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/exit_code.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using test::id_model;
using test::Outcome;
using test::text_model;
using weights::contains;

Outcome run_on_device(std::vector<std::string> arguments, int failing_kernel = 0, std::string input = {}) {
  arguments.insert(arguments.end(), {"--device", "cuda", "--precision", "exact"});
  return test::run_program(arguments, {.input = std::move(input), .failing_kernel = failing_kernel});
}

TEST_CASE("a command whose GPU fails while it runs ends with a code of its own and the reason") {
  struct Command {
    std::vector<std::string> words;
    std::string input;
  };
  const std::vector<Command> commands = {
      {{"run", id_model(), "--tokens", "1,2,3", "-n", "4"}, ""},
      {{"run", text_model(), "--batch", "-", "-n", "2"}, "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n"},
      {{"eval", "ppl", text_model(), "-f", "-"}, "a few words"},
      {{"bench", id_model(), "-p", "4", "-n", "2", "-r", "1"}, ""},
  };
  for (const auto& [words, input] : commands) {
    INFO(words[0] << " " << words[2]);
    CHECK(run_on_device(words, 0, input).code == kOk);
    for (const int kernel : {1, 20}) {
      const Outcome outcome = run_on_device(words, kernel, input);
      CHECK(outcome.code == kDeviceLost);
      CHECK(contains(outcome.err + outcome.out,
                     "cuda:0 failed and can do nothing more in this process: restart"));
      CHECK(contains(outcome.err + outcome.out, "unspecified launch failure"));
    }
  }
}

TEST_CASE("a bench on a GPU names it, in every format without a number that is none") {
  for (const char* const format : {"md", "html", "csv", "json", "jsonl"}) {
    INFO(format);
    const Outcome outcome =
        run_on_device({"bench", id_model(), "-p", "4", "-n", "2", "-d", "0,4", "-r", "2", "-o", format});
    REQUIRE(outcome.code == kOk);
    CHECK_FALSE(contains(outcome.out, "0 threads"));
    CHECK_FALSE(contains(outcome.out, "nan"));
    CHECK_FALSE(contains(outcome.out, "inf,"));
    CHECK(contains(outcome.out, "emulated device") == (std::string(format) != "csv"));
  }
}

TEST_CASE("a bench on a GPU has shares of what it measured, of the arithmetic that it is asked for") {
  for (const char* const precision : {"fast", "exact"}) {
    INFO(precision);
    const Outcome outcome = test::run_program({"bench", id_model(), "-p", "20", "-n", "2", "-r", "1", "-o",
                                               "json", "--device", "cuda", "--precision", precision},
                                              {.failing_kernel = 0});
    REQUIRE(outcome.code == kOk);
    const auto report = nlohmann::json::parse(outcome.out);
    const auto& device = report.at("device");
    for (const char* key : {"read_bytes_per_second", "flops_per_second", "half_flops_per_second"}) {
      INFO(key);
      CHECK(device.at(key).get<double>() > 0.0);
    }
    CHECK(device.at("int8_ops_per_second").is_null());
    const auto& prompt = report.at("rows").at(0);
    const char* const rate = std::string(precision) == "fast" ? "half_flops_per_second" : "flops_per_second";
    CHECK(prompt.at("share_of_limit").get<double>() ==
          Approx(prompt.at("flops").get<double>() / device.at(rate).get<double>() /
                 prompt.at("seconds").at(0).get<double>()));
    CHECK(report.at("rows").at(1).at("share_of_limit").get<double>() > 0.0);
  }
}

TEST_CASE("a bench on a GPU that has no memory left to measure its limits has no shares") {
  // Sixteen times this is more than the whole memory.
  const Outcome outcome = test::run_program(
      {"bench", id_model(), "-p", "4", "-n", "2", "-r", "1", "-o", "json", "--device", "cuda"},
      {.environment = {{"GPU_CACHE_BYTES", "1000000000"}}, .failing_kernel = 0});
  REQUIRE(outcome.code == kOk);
  const auto report = nlohmann::json::parse(outcome.out);
  CHECK(report.at("device").at("read_bytes_per_second").is_null());
  for (const auto& row : report.at("rows")) CHECK(row.at("share_of_limit").is_null());
}

}  // namespace
}  // namespace ttt::cli
