// SPDX-License-Identifier: Apache-2.0
// `ttt quantize -f`: what the source and the new file predict of a text.
#include "cli/prediction_comparison.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "cli/exit_code.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/golden.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using Report = nlohmann::json;
using test::Child;
using test::ChildOptions;
using test::Outcome;
using test::run_program;
using weights::contains;
using weights::TemporaryFolder;

const std::string kDemo = TTT_MODELS "/demo-linear.gguf";

// Some 190 tokens: three pieces of 64.
constexpr const char* kText =
    "The road went down from the village to the river, and in the evening, when the work was done, the "
    "people came out of their houses and stood by the bridge to talk. There was an old man among them who "
    "had been to sea when he was young. He said little, but when he did speak the others were quiet, for "
    "he had seen more of the world than all of them together. \"You ask me whether I was afraid,\" he said "
    "one night. \"I will tell you. I was afraid every day, and I went out every day, and that is all there "
    "is to say of it.\" Then he took his hat and walked home along the water, and nobody followed him.";

Report quantise(const std::vector<std::string>& arguments, const ChildOptions& options = {}) {
  std::vector<std::string> line = {"quantize"};
  line.insert(line.end(), arguments.begin(), arguments.end());
  line.insert(line.end(), {"-o", "json"});
  const Outcome made = run_program(line, options);
  CAPTURE(made.err);
  REQUIRE(made.code == kOk);
  return Report::parse(made.out);
}

// Log-probabilities [tokens, V] in long double, from what `ttt eval logits` writes.
std::vector<std::vector<long double>> log_probs_of(const std::string& model, const std::string& ids) {
  const TemporaryFolder folder;
  const std::string path = folder / "logits.safetensors";
  REQUIRE(run_program({"eval", "logits", model, "--ids", ids, "-o", path}).code == kOk);
  const auto file = weights::SafetensorsFile::open(path, weights::FileAccess::kRead);
  const std::vector<double> logits = ttt::test::read_doubles(*file.find_tensor("logits"));
  const std::size_t rows = file.find_tensor("logits")->shape[0];
  std::vector<std::vector<long double>> result;
  for (std::size_t row = 0; row < rows; ++row) {
    const auto width = static_cast<std::ptrdiff_t>(logits.size() / rows);
    const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(row) * width;
    result.emplace_back(begin, begin + width);
    long double sum = 0.0;
    for (const long double logit : result.back()) sum += std::exp(logit);
    for (long double& logit : result.back()) logit -= std::log(sum);
  }
  return result;
}

struct Figures {
  double mean = 0.0, error = 0.0, p99 = 0.0, max = 0.0;
};

Figures figures_of(std::vector<long double> values) {
  const auto count = static_cast<long double>(values.size());
  long double sum = 0.0, squares = 0.0;
  for (const long double value : values) sum += value;
  for (const long double value : values) squares += (value - sum / count) * (value - sum / count);
  std::ranges::sort(values);
  const std::size_t rank = (values.size() * 99 + 99) / 100;
  return {static_cast<double>(sum / count), static_cast<double>(std::sqrt(squares / (count * (count - 1)))),
          static_cast<double>(values[rank - 1]), static_cast<double>(values.back())};
}

TEST_CASE("a comparison's figures are those of both models' logits in higher precision") {
  const TemporaryFolder folder;
  const std::string output = folder / "q4.gguf";
  const std::string file = folder.write("text.txt", kText);
  const Report report = quantise({kDemo, output, "--type", "q4_0", "-f", file});
  CHECK_FALSE(report.at("tensors").empty());  // -f asks for the report
  const Report& text = report.at("text");
  const std::string ids = run_program({"tokenize", kDemo, kText, "--ids"}).out;
  const std::vector<TokenId> tokens = Report::parse("[" + ids + "]").get<std::vector<TokenId>>();
  REQUIRE(tokens.size() > 130);
  const auto source = log_probs_of(kDemo, ids);
  const auto found = log_probs_of(output, ids);

  std::vector<long double> losses, changes, divergences, same;
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    const auto target = static_cast<std::size_t>(tokens[i + 1]);
    losses.push_back(-source[i][target]);
    changes.push_back(source[i][target] - found[i][target]);
    long double divergence = 0.0;
    for (std::size_t v = 0; v < source[i].size(); ++v) {
      divergence += std::exp(source[i][v]) * (source[i][v] - found[i][v]);
    }
    divergences.push_back(divergence);
    const auto top = [](const auto& row) { return std::ranges::max_element(row) - row.begin(); };
    same.push_back(top(source[i]) == top(found[i]) ? 1.0 : 0.0);
  }
  // Sums of at most 32000 terms in double are off by 32000 x 1.1e-16 of their size, and no logit is above 30.
  const auto close = [](double value) { return Approx(value).epsilon(0).margin(1e-10); };
  const Figures loss = figures_of(losses), change = figures_of(changes);
  const Figures divergence = figures_of(divergences), agreement = figures_of(same);
  CHECK(text.at("file") == file);
  CHECK(text.at("tokens") == tokens.size());
  CHECK(text.at("source").at("loss").get<double>() == close(loss.mean));
  CHECK(text.at("output").at("loss").get<double>() == close(loss.mean + change.mean));
  CHECK(std::log(text.at("source").at("perplexity").get<double>()) == close(loss.mean));
  CHECK(std::log(text.at("output").at("perplexity").get<double>()) == close(loss.mean + change.mean));
  const double ratio = std::exp(change.mean);
  CHECK(text.at("perplexity_change").at("mean").get<double>() == close(ratio - 1.0));
  CHECK(text.at("perplexity_change").at("error").get<double>() == close(ratio * change.error));
  CHECK(text.at("divergence").at("mean").get<double>() == close(divergence.mean));
  CHECK(text.at("divergence").at("error").get<double>() == close(divergence.error));
  CHECK(text.at("divergence").at("p99").get<double>() == close(divergence.p99));
  CHECK(text.at("divergence").at("max").get<double>() == close(divergence.max));
  CHECK(text.at("same_top").at("mean").get<double>() == close(agreement.mean));
  CHECK(text.at("same_top").at("error").get<double>() == close(agreement.error));
  CHECK(divergence.max > divergence.p99);
}

TEST_CASE("a file with the same weights loses nothing, Q8_0 little, Q4_0 more") {
  const TemporaryFolder folder;
  const std::string file = folder.write("text.txt", kText);
  const auto compared = [&](const char* type) {
    return quantise({kDemo, folder / type, "--type", type, "-f", file}).at("text");
  };
  const Report same = compared("f16");  // which the demo model is
  CHECK(same.at("divergence").at("max") == 0.0);
  CHECK(same.at("divergence").at("mean") == 0.0);
  CHECK(same.at("perplexity_change").at("mean") == 0.0);
  CHECK(same.at("perplexity_change").at("error") == 0.0);
  CHECK(same.at("same_top").at("mean") == 1.0);
  CHECK(same.at("source") == same.at("output"));
  const auto divergence = [](const Report& text) { return text.at("divergence").at("mean").get<double>(); };
  const Report q8 = compared("q8_0");
  const Report q4 = compared("q4_0");
  CHECK(divergence(q8) > 0.0);
  CHECK(divergence(q8) < 1e-3);
  CHECK(divergence(q4) > 10.0 * divergence(q8));
  CHECK(q4.at("same_top").at("mean") < q8.at("same_top").at("mean"));
  CHECK(q4.at("source") == q8.at("source"));
}

TEST_CASE("a comparison reads as many tokens as asked, also of a folder and from stdin") {
  const TemporaryFolder folder;
  const std::string source = test::make_text_model(folder / "source");
  const ChildOptions input{.input = kText};
  const Report part = quantise({source, folder / "a.gguf", "-f", "-", "--tokens", "70"}, input).at("text");
  CHECK(part.at("tokens") == 70);
  CHECK(part.at("file") == "-");
  std::vector<std::string> line = {"quantize", source, folder / "a.gguf", "--force", "-f", "-"};
  const Outcome table = run_program(line, input);
  for (const char* words : {"| Q8_0 |", "| perplexity |", "| KL divergence, nats a token |", "%"}) {
    CHECK(contains(table.out, words));
  }
  line.insert(line.end(), {"--tokens", "1m"});
  CHECK(contains(run_program(line, input).err, "tokens only, not 1000000"));
}

TEST_CASE("what cannot be compared is refused before anything is written") {
  const TemporaryFolder folder;
  const std::string output = folder / "out.gguf";
  const auto refused = [&](const std::string& model, const std::vector<std::string>& options, int code,
                           const char* part) {
    std::vector<std::string> line = {"quantize", model, output};
    line.insert(line.end(), options.begin(), options.end());
    const Outcome outcome = run_program(line);
    CAPTURE(outcome.err);
    CHECK(outcome.code == code);
    CHECK(contains(outcome.err, part));
    CHECK_FALSE(std::filesystem::exists(output));
  };
  const std::string text = folder.write("text.txt", kText);
  refused(kDemo, {"-f", folder / "missing"}, kRuntimeError, "cannot open");
  refused(kDemo, {"-f", folder.write("empty", "")}, kUsage, "too short: at least 3 tokens");
  refused(kDemo, {"-f", text, "--tokens", "2"}, kUsage, "--tokens");
  refused(kDemo, {"--report", "--tokens", "100"}, kUsage, "of the text that -f names");
  refused(test::id_model(), {"-f", text}, kInvalidModel, "a tokenizer");
}

TEST_CASE("a comparison that is interrupted leaves the new file whole") {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += "the old man and the sea, ";
  const std::string output = folder / "out.gguf";
  Child child({"quantize", test::text_model(), output, "-f", folder.write("text.txt", text)});
  REQUIRE(child.read_errors_until("weights hash"));
  child.signal(SIGINT);
  const Outcome outcome = child.wait();
  CAPTURE(outcome.err);
  CHECK(outcome.code == kInterrupted);
  CHECK_FALSE(outcome.killed);
  CHECK(contains(outcome.err, output + " is whole and stays"));
  CHECK(outcome.out.empty());
  CHECK(run_program({"info", output, "--check"}).code == kOk);
}

TEST_CASE("the first of equal logits is on top, and one that is not finite is refused") {
  const std::vector<float> flat = {1.0F, 1.0F, 0.0F}, first = {2.0F, 1.0F, 0.0F};
  PredictionTally tally;
  tally.add(flat, first, 2);
  tally.add(first, flat, 0);
  const PredictionComparison both = tally.summary();
  CHECK(both.tokens == 3);
  CHECK(both.same_top.mean == 1.0);
  CHECK(both.same_top.error == 0.0);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const std::vector<float> broken = {1.0F, bad, 0.0F};
    CHECK_THROWS_AS(tally.add(broken, flat, 0), std::runtime_error);
    CHECK_THROWS_AS(tally.add(flat, broken, 0), std::runtime_error);
  }
}

TEST_CASE("two models that do not fit are refused with what they need and what there is") {
  constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
  CHECK_NOTHROW(check_both_fit(kGiB, 2 * kGiB, 3 * kGiB));
  CHECK_NOTHROW(check_both_fit(kGiB, 2 * kGiB, std::nullopt));
  CHECK_THROWS_AS(check_both_fit(kGiB, 2 * kGiB, 3 * kGiB - 1), MemoryError);
  CHECK_THROWS_WITH(
      check_both_fit(kGiB, 4 * kGiB, 3 * kGiB),
      Catch::Contains("needs 5.00 GiB (the source 1.00 GiB, the output 4.00 GiB), and 3.00 GiB can be had"));
}

}  // namespace
}  // namespace ttt::cli
