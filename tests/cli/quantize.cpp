// SPDX-License-Identifier: Apache-2.0
#include "cli/quantize.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/exit_code.h"
#include "engine/random_weights.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using test::Outcome;
using test::run_program;
using weights::contains;
using weights::TemporaryFolder;

nlohmann::json checked_info(const std::string& model) {
  return nlohmann::json::parse(run_program({"info", model, "--check", "--json", "--tensors"}).out);
}

std::string type_in(const nlohmann::json& info, const std::string& name) {
  for (const auto& tensor : info.at("tensors")) {
    if (tensor.at("name") == name) return tensor.at("type");
  }
  return "";
}

TEST_CASE("a quantised file is sound, smaller, and writes text") {
  const TemporaryFolder folder;
  const std::string model = test::make_gguf(folder.path());
  for (const auto& [type, name] : {std::pair{"q8_0", "Q8_0"}, std::pair{"q4_0", "Q4_0"}}) {
    const std::string output = folder / type;
    const Outcome made = run_program({"quantize", model, output, "--type", type});
    CAPTURE(made.err);
    REQUIRE(made.code == kOk);
    CHECK(made.out.empty());
    const auto info = checked_info(output);
    CHECK(info.at("check").at("sound") == true);
    CHECK(contains(made.err, info.at("weights_hash").get<std::string>()));
    CHECK(type_in(info, "blk.0.attn_q.weight") == name);
    CHECK(type_in(info, "token_embd.weight") == "Q8_0");
    CHECK(type_in(info, "blk.0.ffn_down.weight") == "F16");  // rows of 176
    CHECK(type_in(info, "blk.1.attn_norm.weight") == "F32");
    CHECK(std::filesystem::file_size(output) < std::filesystem::file_size(model));
    const Outcome run = run_program({"run", output, "-p", "the old man", "-n", "8", "--temp", "0"});
    CHECK(run.code == kOk);
    CHECK_FALSE(run.out.empty());
  }
}

TEST_CASE("blocks of 256 weights: the file is sound, and the report has the mix of types") {
  const TemporaryFolder folder;
  ModelConfig config = official_config("125m");
  config.vocab_size = 50;
  config.hidden_size = 256;
  config.intermediate_size = 288;  // ffn_down falls back
  config.num_hidden_layers = 1;
  config.num_attention_heads = 4;
  const RandomWeights random(config, weights::DType::kF32, 1);
  ttt::convert(random.model(), {}, nullptr, folder / "model.gguf", {});
  struct Case {
    const char *type, *name, *embedding, *of_288, *bits;
    double error;
  };
  for (const Case& c : {Case{"q4_k", "Q4_K", "Q6_K", "Q4_0", "4.50", 0.1},
                        Case{"q6_k", "Q6_K", "Q6_K", "Q8_0", "6.56", 0.03}}) {
    CAPTURE(c.type);
    const std::string output = folder / c.type;
    const Outcome made =
        run_program({"quantize", folder / "model.gguf", output, "--type", c.type, "--report", "-o", "json"});
    CAPTURE(made.err);
    REQUIRE(made.code == kOk);
    const auto info = checked_info(output);
    CHECK(info.at("check").at("sound") == true);
    CHECK(type_in(info, "blk.0.attn_q.weight") == c.name);
    CHECK(type_in(info, "token_embd.weight") == c.embedding);
    CHECK(type_in(info, "blk.0.ffn_down.weight") == c.of_288);
    const auto report = nlohmann::json::parse(made.out);
    for (const auto& tensor : report.at("tensors")) {
      if (tensor.at("to") != c.name) continue;
      CHECK(tensor.at("relative_error").get<double>() < c.error);
      CHECK(tensor.at("relative_error").get<double>() > 0.1 * c.error);
    }
    const Outcome text =
        run_program({"quantize", folder / "model.gguf", output, "--type", c.type, "--force", "--report"});
    CHECK(contains(text.out, std::string("| ") + c.bits + " |"));
    CHECK(contains(text.out, "| blk.0.ffn_down.weight | [256, 288] | F32 | " + std::string(c.of_288) + " |"));
    const Outcome converted =
        run_program({"convert", folder / "model.gguf", folder / "again.gguf", "--type", c.type, "--force"});
    CAPTURE(converted.err);
    REQUIRE(converted.code == kOk);
    CHECK(checked_info(folder / "again.gguf").at("weights_hash") == info.at("weights_hash"));
  }
}

TEST_CASE("a narrow model is quantised with smaller blocks where 256 divides no row") {
  const TemporaryFolder folder;
  REQUIRE(run_program({"quantize", test::id_model(), folder / "a.gguf", "--type", "q4_k"}).code == kOk);
  REQUIRE(run_program({"quantize", test::id_model(), folder / "b.gguf", "--type", "q4_0"}).code == kOk);
  CHECK(checked_info(folder / "a.gguf").at("weights_hash") ==
        checked_info(folder / "b.gguf").at("weights_hash"));
}

TEST_CASE("convert quantises a folder to the same weights as quantize does") {
  const TemporaryFolder folder;
  const std::string source = test::make_text_model(folder / "source");
  REQUIRE(run_program({"convert", source, folder / "a.gguf", "--type", "q4_0"}).code == kOk);
  REQUIRE(run_program({"quantize", source, folder / "b.gguf", "--type", "q4_0"}).code == kOk);
  CHECK(checked_info(folder / "a.gguf").at("weights_hash") ==
        checked_info(folder / "b.gguf").at("weights_hash"));
}

TEST_CASE("a pattern keeps matrices in another type") {
  const TemporaryFolder folder;
  const std::string output = folder / "out.gguf";
  const Outcome made = run_program({"quantize", test::id_model(), output, "--type", "q4_0", "--keep",
                                    "blk.1.*=f32", "--keep", "token_embd*=q4_0"});
  CAPTURE(made.err);
  REQUIRE(made.code == kOk);
  const auto info = checked_info(output);
  CHECK(type_in(info, "blk.0.attn_q.weight") == "Q4_0");
  CHECK(type_in(info, "blk.1.attn_q.weight") == "F32");
  CHECK(type_in(info, "token_embd.weight") == "Q4_0");
}

TEST_CASE("the report tells the real mix and what each matrix lost") {
  const TemporaryFolder folder;
  const Outcome json =
      run_program({"quantize", test::id_model(), folder / "a.gguf", "--report", "-o", "json"});
  REQUIRE(json.code == kOk);
  const auto report = nlohmann::json::parse(json.out);
  CHECK(report.at("schema") == 1);
  std::uint64_t bytes = 0;
  for (const auto& tensor : report.at("tensors")) {
    const double error = tensor.at("relative_error");
    const std::string to = tensor.at("to");
    CAPTURE(tensor.at("name").get<std::string>(), to);
    // Uniform rounding errors over a step of 1/127 of a block's largest magnitude.
    if (to == "Q8_0") CHECK((error > 1e-3 && error < 1e-2));
    if (to == "F16") CHECK((error > 1e-5 && error < 1e-3));
    if (to == "F32") CHECK(error == 0.0);
    bytes += tensor.at("bytes").get<std::uint64_t>();
  }
  CHECK(bytes < report.at("file_bytes"));
  const Outcome text = run_program({"quantize", test::id_model(), folder / "b.gguf", "--report"});
  for (const char* part :
       {"| Q8_0 |", "| F16 |", "| 8.50 |", "| blk.1.ffn_down.weight | [64, 176] | F32 | F16 |"}) {
    CAPTURE(part);
    CHECK(contains(text.out, part));
  }
  CHECK_FALSE(contains(text.out, "attn_norm"));
}

TEST_CASE("a model that is quantised already is refused unless asked") {
  const TemporaryFolder folder;
  const std::string q8 = folder / "q8.gguf";
  REQUIRE(run_program({"quantize", test::id_model(), q8}).code == kOk);
  for (const char* command : {"quantize", "convert"}) {
    const Outcome refused = run_program({command, q8, folder / "q4.gguf", "--type", "q4_0"});
    CHECK(refused.code == kUsage);
    CHECK(contains(refused.err, "--requantize"));
    CHECK_FALSE(std::filesystem::exists(folder / "q4.gguf"));
  }
  CHECK(run_program({"quantize", q8, folder / "q4.gguf", "--type", "q4_0", "--requantize"}).code == kOk);
  CHECK(type_in(checked_info(folder / "q4.gguf"), "blk.0.attn_q.weight") == "Q4_0");
  CHECK(run_program({"convert", q8, folder / "f32.gguf", "--type", "f32"}).code == kOk);  // loses nothing
}

TEST_CASE("what cannot be quantised is refused with the reason, and nothing is written") {
  const TemporaryFolder folder;
  const std::string output = folder / "out.gguf";
  const auto refused = [&](const std::vector<std::string>& options, const char* part) {
    std::vector<std::string> line = {"quantize", test::id_model(), output};
    line.insert(line.end(), options.begin(), options.end());
    const Outcome outcome = run_program(line);
    CAPTURE(outcome.err);
    CHECK(outcome.code == kUsage);
    CHECK(contains(outcome.err, part));
    CHECK_FALSE(std::filesystem::exists(output));
  };
  refused({"--type", "q5_0"}, "--type");
  refused({"--keep", "output"}, "PATTERN=TYPE");
  refused({"--keep", "=f16"}, "PATTERN=TYPE");
  refused({"--keep", "output*=q5_k"}, "q4_k and q4_0");
  refused({"--keep", "blk.7.*=f16"}, "matches 'blk.7.*'");
  CHECK(run_program({"quantize", test::id_model()}).code == kUsage);
  folder.write("out.gguf", "precious");
  CHECK(run_program({"quantize", test::id_model(), output}).code == kUsage);
  CHECK(weights::read_file(output) == "precious");
}

TEST_CASE("a bench counts 8-bit products against their own limit") {
  const Outcome outcome = run_program(
      {"bench", "--random", "125m", "--type", "q4_0", "-p", "1", "-n", "1", "-r", "1", "-o", "json"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.code == kOk);
  const auto report = nlohmann::json::parse(outcome.out);
  CHECK(report.at("model").at("precision") == "Q4_0");
  CHECK(report.at("device").at("int8_ops_per_second").get<double>() > 0.0);
  // 85.1 million weights in layers, 24.6 million in the head.
  CHECK(report.at("model").at("matrix_bytes") ==
        12U * (4U * 768 * 768 + 3U * 768 * 2048) / 32 * 18 + 32000U * 768 / 32 * 34);
}

}  // namespace
}  // namespace ttt::cli
