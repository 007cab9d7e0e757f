// SPDX-License-Identifier: Apache-2.0
// The options of `ttt run` that say how text is generated, each by what it does.
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "cli/exit_code.h"
#include "cli/run.h"
#include "cli/signals.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using nlohmann::json;
using test::id_model;
using test::Outcome;
using test::run_program;
using test::text_model;
using weights::contains;
using weights::TemporaryFolder;

using Words = std::vector<std::string>;

Words joined(Words first, const Words& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

// `ttt run` on ids, greedy unless the arguments say otherwise.
Words with_ids(const Words& arguments) {
  return joined({"run", id_model(), "--tokens", "1,2,3", "-n", "8", "--temp", "0"}, arguments);
}

json json_of(const Words& arguments) {
  const Outcome outcome = run_program(joined(arguments, {"--json"}));
  CAPTURE(outcome.err);
  REQUIRE(outcome.code == kOk);
  return json::parse(outcome.out);
}

std::vector<int> tokens_of(const Words& arguments) {
  return json_of(with_ids(arguments)).at("tokens").get<std::vector<int>>();
}

std::string list_of(const std::vector<int>& ids) { return fmt::format("{}", fmt::join(ids, ",")); }

int eos_of(const std::string& model) {
  return json::parse(run_program({"info", model, "--json"}).out).at("tokenizer").at("eos_id").get<int>();
}

TEST_CASE("option --num gives continuations that differ, the first of which is the one without it") {
  const Words warm = {"--temp", "1", "--seed", "5"};
  const json result = json_of(with_ids(joined(warm, {"--num", "4"})));
  REQUIRE(result.at("choices").size() == 4);
  std::set<std::vector<int>> distinct;
  for (const json& choice : result.at("choices")) {
    CHECK(choice.at("tokens").size() == 8);
    distinct.insert(choice.at("tokens").get<std::vector<int>>());
  }
  CHECK(distinct.size() == 4);
  CHECK(result.at("choices").at(0).at("tokens") == json_of(with_ids(warm)).at("tokens"));
  CHECK(result.at("usage").at("prompt_tokens") == 3);
  CHECK(result.at("usage").at("completion_tokens") == 32);
}

TEST_CASE("option --best-of keeps those with the highest mean log-probability, best first") {
  const auto means = [](const Words& number) {
    const json result = json_of(with_ids(joined({"--temp", "1", "--seed", "5", "--logprobs", "0"}, number)));
    std::vector<double> values;
    for (const json& choice : result.at("choices")) values.push_back(choice.at("mean_logprob").get<double>());
    return values;
  };
  std::vector<double> all = means({"--num", "5"});
  std::ranges::sort(all, std::greater());
  REQUIRE(all.size() == 5);
  CHECK(means({"--num", "2", "--best-of", "5"}) == std::vector<double>(all.begin(), all.begin() + 2));
}

TEST_CASE("several choices are printed under headings, as text or as ids") {
  const Words warm = {"--temp", "1", "--seed", "5", "--num", "2"};
  const json ids = json_of(with_ids(warm));
  const auto list = [&](std::size_t i) {
    return list_of(ids.at("choices").at(i).at("tokens").get<std::vector<int>>());
  };
  CHECK(run_program(with_ids(warm)).out ==
        fmt::format("=== 1 of 2 ===\n{}\n=== 2 of 2 ===\n{}\n", list(0), list(1)));
  CHECK(run_program(with_ids(joined(warm, {"--echo"}))).out ==
        fmt::format("=== 1 of 2 ===\n1,2,3,{}\n=== 2 of 2 ===\n1,2,3,{}\n", list(0), list(1)));

  const Words text = joined({"run", text_model(), "-p", "the old man", "-n", "6"}, warm);
  const json texts = json_of(text);
  const auto text_of = [&](std::size_t i) { return texts.at("choices").at(i).at("text").get<std::string>(); };
  CHECK(text_of(0) != text_of(1));
  CHECK(run_program(text).out ==
        fmt::format("=== 1 of 2 ===\n{}\n=== 2 of 2 ===\n{}\n", text_of(0), text_of(1)));
}

TEST_CASE("option --logprobs ranks the most probable tokens, and a greedy token is the first of them") {
  const json result = json_of(with_ids({"--logprobs", "3"}));
  const json& tokens = result.at("choices").at(0).at("logprobs");
  REQUIRE(tokens.size() == 8);
  for (const json& token : tokens) {
    const json& top = token.at("top");
    REQUIRE(top.size() == 3);
    CHECK(top.at(0).at("id") == token.at("id"));
    CHECK(top.at(0).at("logprob") == token.at("logprob"));
    CHECK(top.at(0).at("logprob") >= top.at(1).at("logprob"));
    CHECK(top.at(1).at("logprob") >= top.at(2).at("logprob"));
    CHECK(token.at("logprob").get<double>() < 0.0);
  }
  CHECK_FALSE(result.contains("prompt_logprobs"));
  const Outcome text = run_program(with_ids({"--logprobs", "3"}));
  CHECK(text.code == kUsage);
  CHECK(contains(text.err, "--json"));
}

TEST_CASE("option --logprobs with --echo covers the prompt and agrees with ttt eval ppl") {
  const TemporaryFolder folder;
  const std::string sentence = "It was late in the evening when the old man came back to the village.";
  const std::string file = folder.write("text.txt", sentence);
  const json result = json_of({"run", text_model(), "-p", sentence, "--echo", "--logprobs", "1", "-n", "1"});
  const json& prompt = result.at("prompt_logprobs");
  REQUIRE(prompt.size() == result.at("usage").at("prompt_tokens").get<std::size_t>());
  CHECK(prompt.at(0).at("logprob").is_null());
  double loss = 0.0;
  for (std::size_t i = 1; i < prompt.size(); ++i) {
    loss -= prompt.at(i).at("logprob").get<double>();
    CHECK(prompt.at(i).at("top").at(0).at("logprob") >= prompt.at(i).at("logprob"));
  }
  const json ppl = json::parse(run_program({"eval", "ppl", text_model(), "-f", file, "--json"}).out);
  CHECK(ppl.at("tokens") == prompt.size());
  CHECK(loss / static_cast<double>(prompt.size() - 1) == Approx(ppl.at("loss").get<double>()).epsilon(1e-6));
}

TEST_CASE("option --stop-token-ids ends before its token, and not before --min-tokens") {
  const std::vector<int> greedy = tokens_of({});
  REQUIRE(greedy.size() == 8);
  const std::string first = fmt::format("{}", greedy[0]);
  const json stopped = json_of(with_ids({"--stop-token-ids", "319," + first}));
  CHECK(stopped.at("tokens").empty());
  CHECK(stopped.at("finish_reason") == "stop");
  CHECK(stopped.at("choices").at(0).at("stop_id") == greedy[0]);
  CHECK(run_program(with_ids({"--stop-token-ids", first})).out.empty());

  const std::vector<int> later = tokens_of({"--stop-token-ids", first, "--min-tokens", "3"});
  CHECK(later.size() >= 3);
  CHECK(std::ranges::find(later, greedy[0]) == later.end());
}

TEST_CASE("the end-of-text token ends the text unless --ignore-eos bans it") {
  const int eos = eos_of(text_model());
  const Words likely = {"run", text_model(), "-p", "the",          "-n",
                        "6",   "--temp",     "0",  "--logit-bias", fmt::format("{}=99", eos)};
  const json ended = json_of(likely);
  CHECK(ended.at("finish_reason") == "stop");
  CHECK(ended.at("tokens").empty());
  const json ignored = json_of(joined(likely, {"--ignore-eos"}));
  CHECK(ignored.at("finish_reason") == "length");
  REQUIRE(ignored.at("tokens").size() == 6);
  CHECK(std::ranges::find(ignored.at("tokens"), json(eos)) == ignored.at("tokens").end());
  const json late = json_of(joined(likely, {"--min-tokens", "2"}));
  CHECK(late.at("finish_reason") == "stop");
  CHECK(late.at("tokens").size() == 2);
}

TEST_CASE("bans, permissions and biases decide what can be drawn") {
  const json ranked = json_of(with_ids({"--logprobs", "2", "-n", "1"}));
  const json& top = ranked.at("choices").at(0).at("logprobs").at(0).at("top");
  const int best = top.at(0).at("id").get<int>();
  const int second = top.at(1).at("id").get<int>();
  CHECK(tokens_of({"-n", "1", "--banned-tokens", fmt::format("{}", best)}) == std::vector{second});
  CHECK(tokens_of({"-n", "1", "--logit-bias", fmt::format("{}=-100", best)}) == std::vector{second});
  CHECK(tokens_of({"-n", "1", "--logit-bias", fmt::format("{}=50", second)}) == std::vector{second});
  CHECK(tokens_of({"-n", "2", "--logit-bias", "7=100"}) == std::vector{7, 7});
  for (const int id : tokens_of({"--temp", "5", "--seed", "1", "--allowed-tokens", "5,6"})) {
    CHECK((id == 5 || id == 6));
  }
}

TEST_CASE("option --repeat-penalty makes tokens of the last ones rarer, within --repeat-last-n") {
  const Words few = {"-n", "24", "--allowed-tokens", "10,20,30,40,50,60,70,80"};
  const auto repeats = [&](const Words& arguments) {
    const std::vector<int> ids = tokens_of(joined(few, arguments));
    std::ptrdiff_t count = 0;
    for (std::size_t i = 1; i < ids.size(); ++i) count += ids[i] == ids[i - 1] ? 1 : 0;
    return count;
  };
  const std::vector<int> free = tokens_of(few);
  CHECK(repeats({"--presence-penalty", "0"}) > repeats({"--repeat-penalty", "100", "--repeat-last-n", "1"}));
  CHECK(tokens_of(joined(few, {"--repeat-penalty", "100", "--repeat-last-n", "0"})) == free);
  CHECK(tokens_of(joined(few, {"--repeat-penalty", "100"})) != free);
  CHECK(tokens_of(joined(few, {"--frequency-penalty", "2"})) != free);
}

TEST_CASE("option --timeout ends with code 5 and keeps the text") {
  const Words endless = {"run", text_model(), "-p", "the",       "-n", "-1",          "--temp",
                         "1",   "--seed",     "3",  "--timeout", "1",  "--ignore-eos"};
  const Outcome text = run_program(endless);
  CHECK(text.code == kTimeLimit);
  CHECK_FALSE(text.out.empty());
  const Outcome object = run_program(joined(endless, {"--json"}));
  CHECK(object.code == kTimeLimit);
  const json result = json::parse(object.out);
  CHECK(result.at("finish_reason") == "time_limit");
  CHECK_FALSE(result.at("tokens").empty());
}

TEST_CASE("a time limit below a millisecond is one, and not none") {
  const ModelFiles files(id_model());
  SamplingOptions options;
  CHECK(make_request(options, files, 0).time_limit.count() == 0);
  options.timeout = 0.0004;
  CHECK(make_request(options, files, 0).time_limit.count() == 1);
  options.timeout = 0.07;
  CHECK(make_request(options, files, 0).time_limit.count() == 70);
}

TEST_CASE("the exit code tells of any choice that did not end by itself") {
  const auto code_of = [](const std::vector<FinishReason>& reasons) {
    Generation generation;
    for (const FinishReason reason : reasons) generation.choices.emplace_back().finish.reason = reason;
    return exit_code(generation);
  };
  using enum FinishReason;
  CHECK(code_of({kLength, kEndOfText}) == kOk);
  CHECK(code_of({kLength, FinishReason::kTimeLimit}) == ExitCode::kTimeLimit);
  CHECK(code_of({FinishReason::kTimeLimit, kLength, kCancelled}) == interrupted_exit_code());
}

TEST_CASE("ids of a padded vocabulary that no piece has are echoed as no text") {
  const TemporaryFolder folder;
  const std::string model = test::make_text_model(folder / "padded", 4100);
  const auto echo_of = [&](const std::string& ids) {
    const Outcome outcome = run_program({"run", model, "--tokens", ids, "--echo", "-n", "0"});
    CAPTURE(outcome.err);
    CHECK(outcome.code == kOk);
    return outcome.out;
  };
  const std::string text = echo_of("500,600");
  CHECK_FALSE(text.empty());
  CHECK(echo_of("500,4098,600") == text);
  const std::string input = folder.write("in.jsonl", R"({"prompt": [500, 4098, 600], "echo": true})");
  const Outcome batch = run_program({"run", model, "--batch", input, "-n", "0"});
  CHECK(batch.code == kOk);
  CHECK(json::parse(batch.out).at("choices").at(0).at("text") == text);
}

TEST_CASE("a value out of range is refused with the option, the range and the value") {
  struct Case {
    const char* option;
    const char* value;
    const char* range;
  };
  const Case cases[] = {{"--max-tokens", "-2", "of at least -1"},
                        {"--min-tokens", "-1", "of at least 0"},
                        {"--temperature", "100.5", "from 0 to 100"},
                        {"--temperature", "-0.1", "from 0 to 100"},
                        {"--temperature", "nan", "from 0 to 100"},
                        {"--top-k", "-1", "from 0 to 2147483647"},
                        {"--top-p", "1.5", "from 0 to 1"},
                        {"--min-p", "-1", "from 0 to 1"},
                        {"--typical-p", "2", "from 0 to 1"},
                        {"--repeat-penalty", "-1", "from 0 to 100"},
                        {"--repeat-last-n", "-2", "from -1 to 2147483647"},
                        {"--presence-penalty", "2.5", "from -2 to 2"},
                        {"--frequency-penalty", "-2.5", "from -2 to 2"},
                        {"--seed", "-1", "of at least 0"},
                        {"--num", "0", "from 1 to 128"},
                        {"--best-of", "129", "from 0 to 128"},
                        {"--logprobs", "1001", "from 0 to 1000"},
                        {"--timeout", "-1", "from 0 to 1000000000"},
                        {"--parallel", "0", "from 1 to 512"}};
  for (const auto& [option, value, range] : cases) {
    CAPTURE(option, value);
    const Outcome outcome = run_program(with_ids({option, value}));
    CHECK(outcome.code == kUsage);
    CHECK(outcome.out.empty());
    CHECK(contains(outcome.err, fmt::format("{}: wanted ", option)));
    CHECK(contains(outcome.err, range));
    CHECK(contains(outcome.err, fmt::format("found '{}'", value)));
  }
}

TEST_CASE("what the engine refuses is told in words of the command line") {
  struct Case {
    Words arguments;
    const char* sentence;
  };
  const Case cases[] = {
      {{"--typical-p", "0"}, "error: --typical-p is 0; it must be in (0, 1]"},
      {{"--repeat-penalty", "0"}, "error: --repeat-penalty is 0; it must be in (0, 100]"},
      {{"--num", "3", "--best-of", "2"}, "error: --best-of: wanted an integer from 3 to 128, found 2"},
      {{"--min-tokens", "9"}, "error: --min-tokens: wanted an integer from 0 to 8, found 9"},
      {{"--logit-bias", "5=101"}, "error: --logit-bias is 101; it must be in [-100, 100]"},
      {{"--logit-bias", "5=1", "--logit-bias", "5=2"}, "error: --logit-bias names token 5 twice"},
      {{"--logit-bias", "5"}, "error: --logit-bias: wanted ID=BIAS"},
      {{"--logit-bias", "320=1"}, "--logit-bias: id 320"},
      {{"--banned-tokens", "1,320"}, "--banned-tokens: id 320 (number 2 in the list)"},
      {{"--allowed-tokens", "5", "--banned-tokens", "5"}, "error: --allowed-tokens leaves none of the 320"},
      {{"--stop-token-ids", "x"}, "--stop-token-ids: "}};
  for (const auto& [arguments, sentence] : cases) {
    CAPTURE(sentence);
    const Outcome outcome = run_program(with_ids(arguments));
    CAPTURE(outcome.err);
    CHECK(outcome.code == kUsage);
    CHECK(outcome.out.empty());
    CHECK(contains(outcome.err, sentence));
  }
}

}  // namespace
}  // namespace ttt::cli
