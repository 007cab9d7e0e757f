// SPDX-License-Identifier: Apache-2.0
// `ttt eval ppl` and `ttt eval logits`.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/eval_ppl.h"
#include "cli/exit_code.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/golden.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using nlohmann::json;
using test::Outcome;
using test::run_program;
using weights::contains;
using weights::TemporaryFolder;

TEST_CASE("losses are summed by position in powers of two") {
  std::vector<double> losses(200, 1.0);
  for (std::size_t i = 64; i < 128; ++i) losses[i] = 2.0;
  const PplResult result = summarise_losses(losses);
  CHECK(result.tokens == 201);
  CHECK(result.loss == Approx(1.32));
  CHECK(result.perplexity == Approx(std::exp(1.32)));
  REQUIRE(result.by_position.size() == 3);
  CHECK(result.by_position[1].first == 64);
  CHECK(result.by_position[1].end == 128);
  CHECK(result.by_position[1].loss == 2.0);
  CHECK(result.by_position[2].end == 200);
  CHECK(summarise_losses({3.0}).by_position[0].end == 1);
}

TEST_CASE("perplexity agrees with the logits of the same tokens") {
  const TemporaryFolder folder;
  const std::string model = test::make_text_model(folder / "model");
  const std::string text = "It was late in the evening when the old man came home and sat down by the fire.";
  const std::string file = folder.write("text.txt", text);
  const json result = json::parse(run_program({"eval", "ppl", model, "-f", file, "--json"}).out);

  const std::string ids_text = run_program({"tokenize", model, text, "--ids"}).out;
  const std::string output = folder / "logits.safetensors";
  REQUIRE(run_program({"eval", "logits", model, "--ids", ids_text, "-o", output}).code == kOk);
  const auto logits_file = weights::SafetensorsFile::open(output, weights::FileAccess::kRead);
  const std::vector<double> logits = ttt::test::read_doubles(*logits_file.find_tensor("logits"));
  const std::vector<double> ids = ttt::test::read_doubles(*logits_file.find_tensor("input_ids"));
  const std::size_t vocabulary = logits.size() / ids.size();
  double sum = 0.0;
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
    double total = 0.0;
    for (std::size_t v = 0; v < vocabulary; ++v) total += std::exp(logits[i * vocabulary + v]);
    sum += std::log(total) - logits[i * vocabulary + static_cast<std::size_t>(ids[i + 1])];
  }
  const auto predictions = static_cast<double>(ids.size() - 1);
  CHECK(result.at("tokens") == ids.size());
  CHECK(result.at("loss").get<double>() == Approx(sum / predictions).epsilon(1e-5));
  CHECK(result.at("perplexity").get<double>() == Approx(std::exp(sum / predictions)).epsilon(1e-4));
  CHECK(result.at("bits_per_byte").get<double>() ==
        Approx(sum / std::log(2.0) / static_cast<double>(text.size())).epsilon(1e-5));
}

TEST_CASE("perplexity reads as many tokens as asked, and says where a text is too short") {
  const TemporaryFolder folder;
  const std::string model = test::make_text_model(folder / "model");
  std::string text;
  for (int i = 0; i < 100; ++i) text += "the old man and the sea, ";
  const std::string file = folder.write("text.txt", text);
  const Outcome part = run_program({"eval", "ppl", model, "-f", file, "--tokens", "130", "--json"});
  CHECK(part.err.empty());
  const json result = json::parse(part.out);
  CHECK(result.at("tokens") == 130);
  CHECK(result.at("by_position").size() == 3);
  CHECK(result.at("by_position").back().at("end") == 129);
  CHECK(contains(run_program({"eval", "ppl", model, "-f", file, "--tokens", "1m"}).err, "ttt: warning: "));
  CHECK(run_program({"eval", "ppl", model, "-f", folder.write("empty", "")}).code == kUsage);
  CHECK(run_program({"eval", "ppl", model}).code == kUsage);
}

TEST_CASE("logits and the final state agree with the golden ones") {
  const TemporaryFolder folder;
  const ttt::test::GoldenCase golden("linear-mamba");
  std::string ids;
  for (const tokenizer::TokenId id : golden.input_ids) ids += std::to_string(id) + "\n";
  const std::string output = folder / "logits.safetensors";
  const Outcome made =
      run_program({"eval", "logits", golden.folder, "--ids", fmt::format("@{}", folder.write("ids.txt", ids)),
                   "-o", output, "--state"});
  CHECK(made.code == kOk);
  CHECK(made.out.empty());
  const auto file = weights::SafetensorsFile::open(output, weights::FileAccess::kRead);
  const auto close = [&](const std::string& name, const std::vector<double>& wanted) {
    CAPTURE(name);
    const std::vector<double> found = ttt::test::read_doubles(*file.find_tensor(name));
    REQUIRE(found.size() == wanted.size());
    double error = 0.0;
    double norm = 0.0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      error += (found[i] - wanted[i]) * (found[i] - wanted[i]);
      norm += wanted[i] * wanted[i];
    }
    CHECK(std::sqrt(error / norm) < 1e-4);
  };
  close("logits", golden.values("logits"));
  close("state.blk.0.W1", golden.final_values(0, "W1_states"));
  close("state.blk.1.W1", golden.final_values(1, "W1_states"));
  CHECK(file.find_tensor("logits")->shape == weights::Shape{golden.input_ids.size(), 320});
  const weights::TensorView* rows = file.find_tensor("state.blk.1.open.key");
  REQUIRE(rows != nullptr);
  CHECK(rows->shape == weights::Shape{golden.input_ids.size() % 16, 4, 16});
}

TEST_CASE("logits need ids that the model has, and a place to go") {
  const TemporaryFolder folder;
  const std::string output = folder / "logits.safetensors";
  const Outcome id = run_program({"eval", "logits", test::id_model(), "--ids", "1,320", "-o", output});
  CHECK(id.code == kUsage);
  CHECK(contains(id.err, "id 320 (number 2 in the list)"));
  CHECK(run_program({"eval", "logits", test::id_model(), "--ids", "1"}).code == kUsage);
  CHECK(run_program({"eval", "logits", test::id_model(), "-o", output}).code == kUsage);
  CHECK(folder.names().empty());
}

}  // namespace
}  // namespace ttt::cli
