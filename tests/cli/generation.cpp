// SPDX-License-Identifier: Apache-2.0
// `ttt run` from end to end: prompts of every kind, and what stands on stdout.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/exit_code.h"
#include "cpu/processors.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/sanitized.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using nlohmann::json;
using test::Child;
using test::ChildOptions;
using test::id_model;
using test::Outcome;
using test::run_program;
using test::text_model;
using weights::contains;
using weights::TemporaryFolder;

// `ttt run MODEL ARGUMENTS`, greedy and short unless the arguments say otherwise.
Outcome run_text(std::vector<std::string> arguments, const ChildOptions& options = {}) {
  std::vector<std::string> all = {"run", text_model(), "-n", "6", "--temp", "0"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return run_program(all, options);
}

json run_json(std::vector<std::string> arguments, const ChildOptions& options = {}) {
  arguments.push_back("--json");
  const Outcome outcome = run_text(std::move(arguments), options);
  CAPTURE(outcome.err);
  REQUIRE(outcome.code == kOk);
  return json::parse(outcome.out);
}

TEST_CASE("a prompt is the same from an argument, an option, a file and a pipe") {
  const TemporaryFolder folder;
  const std::string file = folder.write("prompt.txt", "the old man\n");
  const Outcome expected = run_text({"-p", "the old man"});
  CHECK(expected.code == kOk);
  CHECK_FALSE(expected.out.empty());
  CHECK(expected.err.empty());
  CHECK(run_text({"the old man"}).out == expected.out);
  CHECK(run_text({"-f", file}).out == expected.out);
  CHECK(run_text({}, {.input = "the old man"}).out == expected.out);
  CHECK(run_text({"-"}, {.input = "the old man\n"}).out == expected.out);
  CHECK(run_text({"-f", "-"}, {.input = "the old man"}).out == expected.out);
}

TEST_CASE("a prompt may begin with a dash") {
  const Outcome expected = run_text({"--prompt=-x"});
  CHECK(expected.code == kOk);
  CHECK(run_text({"-p", "-x"}).out == expected.out);
  CHECK(run_text({}, {.input = "-x"}).out == expected.out);
  CHECK(run_text({"--echo", "-p", "-x"}).out == fmt::format("-x{}", expected.out));
}

TEST_CASE("a text prompt begins with bos, a list of ids does not, and an empty text is bos alone") {
  const auto count = [](const json& result) { return result.at("usage").at("prompt_tokens").get<int>(); };
  const json with_bos = run_json({"-p", "the old man"});
  const json without = run_json({"-p", "the old man", "--no-bos"});
  CHECK(count(with_bos) == count(without) + 1);
  CHECK(count(run_json({"--tokens", "5,6,7"})) == 3);
  CHECK(count(run_json({"-p", ""})) == 1);
  CHECK(count(run_json({}, {.input = ""})) == 1);
  CHECK(run_json({"--tokens", "1"}).at("tokens") == run_json({"-p", ""}).at("tokens"));
}

TEST_CASE("nothing at all to read is refused") {
  const Outcome ids = run_text({"--tokens", ""});
  CHECK(ids.code == kUsage);
  CHECK(contains(ids.err, "the list of token ids is empty"));
  const Outcome text = run_text({"-p", "", "--no-bos"});
  CHECK(text.code == kUsage);
  CHECK(contains(text.err, "the prompt is empty"));
}

TEST_CASE("a missing prompt with a terminal on stdin is refused instead of waiting") {
  if (!test::has_terminals()) {
    WARN("no pseudo-terminals here: not tested");
    return;
  }
  const Outcome outcome = run_program({"run", text_model()}, {.stdin_terminal = true});
  CHECK(outcome.code == kUsage);
  CHECK(contains(outcome.err, "no prompt"));
  CHECK(contains(outcome.err, "-p TEXT"));
}

TEST_CASE("two prompts are one too many") {
  CHECK(run_text({"-p", "a", "b"}).code == kUsage);
  CHECK(run_text({"-p", "a", "--tokens", "1"}).code == kUsage);
}

TEST_CASE("an id outside the vocabulary is refused with its place and the range") {
  const Outcome outcome = run_text({"--tokens", "1,2,4096"});
  CHECK(outcome.code == kUsage);
  CHECK(contains(outcome.err, "id 4096 (number 3 in the list)"));
  CHECK(contains(outcome.err, "0 to 4095"));
  CHECK(outcome.out.empty());
}

TEST_CASE("with -n 0 the prompt is read and nothing is generated") {
  const Outcome text = run_text({"-n", "0", "-p", "the old man", "--timings"});
  CHECK(text.code == kOk);
  CHECK(text.out.empty());
  CHECK(contains(text.err, "generated    0 tokens"));
  const json result = run_json({"-n", "0", "-p", "the old man"});
  CHECK(result.at("finish_reason") == "length");
  CHECK(result.at("tokens").empty());
}

TEST_CASE("a prompt of one token works") { CHECK(run_json({"--tokens", "7"}).at("tokens").size() == 6); }

TEST_CASE("stdout carries the text alone; timings and the log go to stderr") {
  const Outcome quiet = run_text({"-p", "the old man"});
  const Outcome loud = run_text({"-p", "the old man", "--timings", "-v", "-c", "4096"});
  CHECK(loud.out == quiet.out);
  for (const char* part : {"load", "prompt       ", "tokens/s", "generated    6 tokens", "first token",
                           "device cpu", "-c: this model has no context window; ignored"}) {
    CAPTURE(part);
    CHECK(contains(loud.err, part));
  }
}

TEST_CASE("the JSON result holds text, ids, reason, usage and timings") {
  const json result = run_json({"-p", "the old man", "--seed", "5"});
  CHECK(result.at("schema") == 1);
  CHECK(result.at("text") == run_text({"-p", "the old man"}).out);
  CHECK(result.at("tokens").size() == 6);
  CHECK(result.at("finish_reason") == "length");
  CHECK(result.at("seed") == 5);
  CHECK(result.at("usage").at("completion_tokens") == 6);
  CHECK(result.at("timings").at("prefill_seconds").get<double>() > 0.0);
}

TEST_CASE("echo puts the prompt before its continuation") {
  const std::string text = run_text({"-p", "the old man"}).out;
  CHECK(run_text({"-p", "the old man", "--echo"}).out == fmt::format("the old man{}", text));
}

TEST_CASE("a stop string ends the text before itself") {
  const std::string text = run_text({"-p", "the old man", "-n", "12"}).out;
  REQUIRE(text.size() > 6);
  const std::string stop = text.substr(text.size() / 2, 2);
  const std::string expected = text.substr(0, text.find(stop));
  CHECK(run_text({"-p", "the old man", "-n", "12", "--stop", stop}).out == expected);
  CHECK(run_text({"-p", "the old man", "-n", "12", "--stop", "\x01never", "--stop", stop}).out == expected);
  CHECK(run_json({"-p", "the old man", "-n", "12", "--stop", stop}).at("finish_reason") == "stop");
}

TEST_CASE("a seed gives the same text again, and another one another text") {
  const std::vector<std::string> warm = {"-p", "the", "-n", "12", "--temp", "1"};
  const auto with_seed = [&](const char* seed) {
    std::vector<std::string> arguments = warm;
    arguments.insert(arguments.end(), {"--seed", seed});
    return run_text(arguments).out;
  };
  CHECK(with_seed("1") == with_seed("1"));
  CHECK(with_seed("1") != with_seed("2"));
}

TEST_CASE("threads and the way the file is read do not change the text") {
  const std::string text = run_text({"-p", "the old man", "-t", "1"}).out;
  CHECK(run_text({"-p", "the old man", "-t", "3"}).out == text);
  for (const char* option : {"--no-mmap", "--no-huge-pages", "--mlock", "--pin-threads"}) {
    CAPTURE(option);
    CHECK(run_text({"-p", "the old man", option}).out == text);
  }
  const Outcome spread = run_text({"-p", "the old man", "--numa", "distribute"});
  CHECK(spread.code == kOk);
  CHECK(spread.out == text);
  const bool one_node = cpu::memory_nodes(cpu::allowed_processors()).size() <= 1;
  CHECK(contains(spread.err, "one memory node: nothing to distribute") == one_node);
}

// Such as a cache of keys and values, or of anything else for each token, would be found out.
TEST_CASE("a prompt of 32k tokens takes no more memory than one of 512") {
  const std::string model = GENERATE(id_model(), std::string(TTT_TEST_DATA "/golden/mlp-mamba"));
  if (ttt::test::kSanitized) return;  // they keep what was freed
  const auto peak_with = [&](std::size_t tokens) {
    std::string ids = "3";
    for (std::size_t i = 1; i < tokens; ++i) ids += i % 3 == 0 ? ",4" : ",7";
    Child child({"run", model, "--tokens", ids, "-n", "-1", "--temp", "0", "--ignore-eos"});
    REQUIRE(child.read_output(10));  // the prompt was read
    return child.peak_memory();
  };
  constexpr std::size_t kTokens = std::size_t{1} << 15;
  constexpr std::size_t kIds = 64 * kTokens;  // as text, as numbers, in lists that double as they grow
  constexpr std::size_t kWidth = 64, kLayers = 2;
  static_assert(kIds < kTokens * kLayers * 2 * kWidth * sizeof(float) / 8);  // keys and values
  CHECK(peak_with(kTokens) < peak_with(512) + kIds);
}

TEST_CASE("packed weights are kept in a folder for the next start, which writes the same text") {
  const TemporaryFolder folder;
  const std::string expected = run_text({"-p", "the old man"}).out;
  const std::vector<std::string> arguments = {"-p", "the old man", "-v", "--packed-cache", folder / "cache"};
  const Outcome first = run_text(arguments), second = run_text(arguments);
  CHECK(first.out == expected);
  CHECK(contains(first.err, "packed weights stored as"));
  CHECK(second.out == expected);
  CHECK(contains(second.err, "packed weights come from"));

  const Outcome small =
      run_text({"-p", "the old man", "--packed-cache", folder / "small", "--packed-cache-limit", "1k"});
  CHECK(small.code == kOk);
  CHECK(small.out == expected);
  CHECK(contains(small.err, "more than the limit of 1000: not stored"));

  const Outcome unusable = run_text({"-p", "the old man", "--packed-cache", "/proc/cache"});
  CHECK(unusable.code == kOk);
  CHECK(unusable.out == expected);
  CHECK(contains(unusable.err, "not stored"));
}

TEST_CASE("special tokens are text in a prompt unless asked for") {
  const auto count = [](const json& result) { return result.at("usage").at("prompt_tokens").get<int>(); };
  CHECK(count(run_json({"-p", "</s>", "--parse-special"})) < count(run_json({"-p", "</s>"})));
}

TEST_CASE("a model without a tokenizer refuses text and works with ids") {
  const Outcome text = run_program({"run", id_model(), "-p", "hello"});
  CHECK(text.code == kInvalidModel);
  CHECK(contains(text.err, "tokenizer.model"));
  CHECK(contains(text.err, "--tokens"));
  CHECK(text.out.empty());

  const Outcome ids = run_program({"run", id_model(), "--tokens", "1,2,3", "-n", "4", "--temp", "0"});
  CHECK(ids.code == kOk);
  const Outcome echoed =
      run_program({"run", id_model(), "--tokens", "1,2,3", "-n", "4", "--temp", "0", "--echo"});
  CHECK(echoed.out == fmt::format("1,2,3,{}", ids.out));
  const Outcome object =
      run_program({"run", id_model(), "--tokens", "1,2,3", "-n", "4", "--temp", "0", "--json"});
  CHECK(fmt::format("[{}]", ids.out.substr(0, ids.out.size() - 1)) ==
        json::parse(object.out).at("tokens").dump());

  const Outcome stop = run_program({"run", id_model(), "--tokens", "1,2,3", "--stop", "x"});
  CHECK(stop.code == kInvalidModel);
}

TEST_CASE("a prompt of 100,000 tokens is read", "[slow]") {
  constexpr int kTokens = 100'000;
  const TemporaryFolder folder;
  std::string ids = "1";
  for (int i = 1; i < kTokens; ++i) ids += fmt::format(",{}", i * 7919 % 320);
  const std::string file = folder.write("ids.txt", ids);
  const Outcome outcome =
      run_program({"run", id_model(), "--tokens", fmt::format("@{}", file), "-n", "2", "--json"});
  CHECK(outcome.code == kOk);
  CHECK(json::parse(outcome.out).at("usage").at("prompt_tokens") == kTokens);
}

TEST_CASE("a prompt file that is not there is named") {
  const Outcome outcome = run_text({"-f", "/no/such/prompt.txt"});
  CHECK(outcome.code == kRuntimeError);
  CHECK(contains(outcome.err, "/no/such/prompt.txt"));
}

TEST_CASE("no model at all is a usage error that says how to name one") {
  const Outcome outcome = run_program({"run", "-p", "x"});
  CHECK(outcome.code == kUsage);
  CHECK(contains(outcome.err, "TTT_MODEL"));
  CHECK(run_program({"run", "-p", "x", "-n", "2"}, {.environment = {{"TTT_MODEL", text_model()}}}).code ==
        kOk);
}

TEST_CASE("a TTT-MLP model with the wrong base rate runs with a warning") {
  const std::string right = TTT_TEST_DATA "/golden/mlp-mamba";
  CHECK(run_program({"run", right, "--tokens", "1,2", "-n", "2"}).err.empty());
  const TemporaryFolder folder;
  const std::string wrong = folder / "mlp";
  std::filesystem::copy(right, wrong);
  test::edit_file(wrong + "/config.json", "\"ttt_base_lr\": 0.1", "\"ttt_base_lr\": 1.0");
  const Outcome outcome = run_program({"run", wrong, "--tokens", "1,2", "-n", "2"});
  CHECK(outcome.code == kOk);
  CHECK(contains(outcome.err, "ttt: warning: ttt_base_lr is 1.0"));
}

TEST_CASE("a full disk behind stdout is an error") {
  const Outcome outcome = run_text({"-p", "the old man"}, {.stdout_path = "/dev/full"});
  CHECK(outcome.code == kRuntimeError);
  CHECK(contains(outcome.err, "cannot write to stdout"));
}

}  // namespace
}  // namespace ttt::cli
