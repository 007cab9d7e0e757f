// SPDX-License-Identifier: Apache-2.0
// JAX and PyTorch checkpoints at the command line: ttt convert and ttt info.
#include "cli/import_files.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/exit_code.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using test::Outcome;
using test::run_program;
using weights::contains;
using weights::TemporaryFolder;

const std::string kFolder = TTT_TEST_DATA "/golden/import/jax-ttt-mlp-trainstate-bf16";
const std::string kFile = kFolder + "/streaming_train_state";

nlohmann::json json_info(const std::string& model, const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"info", model, "--json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return nlohmann::json::parse(run_program(arguments).out);
}

TEST_CASE(
    "a folder with a JAX checkpoint and its config.json is converted without a warning but the tokenizer's") {
  const TemporaryFolder folder;
  const std::string output = folder / "model.gguf";
  const Outcome made = run_program({"convert", kFolder, output, "--type", "bf16"});
  CHECK(made.code == kOk);
  CHECK(made.out.empty());
  CHECK(contains(made.err, "JAX train state of 861 kB: TTT-MLP, "));
  CHECK(contains(made.err, "Mamba (pre-convolution yes, shared q/k yes, gate yes)"));
  CHECK(contains(made.err, "BF16 in "));
  CHECK(contains(made.err, "--tokenizer FILE"));
  CHECK_FALSE(contains(made.err, "base learning rate"));
  const auto info = json_info(output, {"--check"});
  CHECK(info.at("check").at("sound") == true);
  CHECK(info.at("config").at("ttt_layer_type") == "mlp");
  CHECK(info.at("config").at("ttt_base_lr").get<float>() == 0.1F);
  CHECK(run_program({"run", output, "--tokens", "1,2,3", "-n", "2"}).code == kOk);
  // What is not converted yet has the same identity.
  CHECK(json_info(kFile, {"--check"}).at("check").at("weights_hash") == info.at("weights_hash"));
}

TEST_CASE("a folder with a PyTorch file converts to the weights of the same model's safetensors") {
  const TemporaryFolder folder;
  const std::string original = TTT_TEST_DATA "/golden/linear-mamba";
  REQUIRE(run_program({"convert", original, folder / "expected.gguf"}).code == kOk);
  const auto expected = json_info(folder / "expected.gguf").at("weights_hash");
  for (const std::string name : {"torch-bin-views", "torch-bin-state-dict-wrapper"}) {
    const std::string source = folder / name;
    std::filesystem::create_directory(source);
    std::filesystem::copy(TTT_TEST_DATA "/golden/import/" + name + "/pytorch_model.bin", source);
    std::filesystem::copy(original + "/config.json", source);
    const std::string output = folder / (name + ".gguf");
    const Outcome made = run_program({"convert", source, output});
    CHECK(made.code == kOk);
    CHECK(contains(made.err, "PyTorch state dict of "));
    CHECK(json_info(output).at("weights_hash") == expected);
    const Outcome direct = run_program({"run", source, "--tokens", "1,2", "-n", "1"});
    CHECK(direct.code == kInvalidModel);
    CHECK(contains(direct.err, "ttt convert"));
  }
}

TEST_CASE("hostile PyTorch files are refused, and nothing is left behind") {
  const TemporaryFolder folder;
  const std::string hostile = TTT_TEST_DATA "/golden/import/hostile";
  for (const auto& entry : std::filesystem::directory_iterator(hostile)) {
    const Outcome refused = run_program({"convert", entry.path().string(), folder / "out.gguf"});
    CHECK(refused.code == kInvalidModel);
    CHECK(refused.err.size() > 40);
  }
  CHECK(std::filesystem::is_empty(folder / ""));
}

TEST_CASE("a JAX file alone is converted with its guesses named, and flags replace them") {
  const TemporaryFolder folder;
  const Outcome guessed = run_program({"convert", kFile, folder / "a.gguf"});
  CHECK(guessed.code == kOk);
  CHECK(contains(guessed.err, "base learning rate: 0.1 is taken"));
  CHECK(contains(guessed.err, "rope_theta and rms_norm_eps"));
  CHECK(contains(guessed.err, "--type bf16 keeps their values at half the size"));
  const Outcome told = run_program({"convert", kFile, folder / "b.gguf", "--base-lr", "0.25"});
  CHECK(told.code == kOk);
  CHECK_FALSE(contains(told.err, "base learning rate"));
  CHECK(json_info(folder / "b.gguf").at("config").at("ttt_base_lr") == 0.25);
}

TEST_CASE("a tokenizer is put in when it is named, and refused when it is another model's") {
  const TemporaryFolder folder;
  const Outcome refused = run_program(
      {"convert", kFile, folder / "a.gguf", "--tokenizer", TTT_TEST_DATA "/tokenizer/demo.model"});
  CHECK(refused.code == kInvalidModel);
  CHECK(contains(refused.err, "at most 320 pieces"));
  CHECK(folder.names().empty());
}

// A folder whose tokenizer is a tokenizer.json of 420 pieces.
std::string json_model(const std::string& path) {
  test::make_text_model(path, 420);
  std::filesystem::remove(path + "/tokenizer.model");
  std::filesystem::copy_file(TTT_TEST_DATA "/tokenizer/llama.json", path + "/tokenizer.json");
  return path;
}

TEST_CASE("a folder with a tokenizer.json runs, and keeps its ids in the converted file") {
  const TemporaryFolder folder;
  const std::string source = json_model(folder / "source");
  const std::string output = folder / "model.gguf";
  REQUIRE(run_program({"convert", source, output}).code == kOk);
  for (const std::string& model : {source, output, source + "/tokenizer.json"}) {
    const Outcome ids = run_program({"tokenize", model, "the old  man", "--ids", "--no-bos"});
    CHECK(ids.code == kOk);
    CHECK(ids.out == run_program({"tokenize", output, "the old  man", "--ids", "--no-bos"}).out);
  }
  const auto text = [](const std::string& model) {
    return run_program({"run", model, "-p", "the", "-n", "8", "--temp", "0"});
  };
  CHECK(text(source).code == kOk);
  CHECK(text(output).out == text(source).out);
}

TEST_CASE("option --tokenizer takes a tokenizer.json, and that of another .gguf file") {
  const TemporaryFolder folder;
  const std::string source = json_model(folder / "source");
  const std::string with_json = folder / "json.gguf";
  std::filesystem::remove(source + "/tokenizer.json");
  REQUIRE(run_program({"convert", source, with_json, "--tokenizer", TTT_TEST_DATA "/tokenizer/llama.json"})
              .code == kOk);
  const std::string with_gguf = folder / "gguf.gguf";
  REQUIRE(run_program({"convert", source, with_gguf, "--tokenizer", with_json}).code == kOk);
  CHECK(weights::read_file(with_gguf) == weights::read_file(with_json));
  const Outcome none =
      run_program({"convert", source, folder / "a.gguf", "--tokenizer", source + "/config.json"});
  CHECK(none.code == kInvalidModel);
  CHECK(contains(none.err, "config.json: model: wanted an object"));
}

TEST_CASE("a tokenizer.json that no SentencePiece model can express is refused with the reason") {
  const TemporaryFolder folder;
  const std::string source = json_model(folder / "source");
  test::edit_file(source + "/tokenizer.json", "\"type\":\"BPE\"", "\"type\":\"Unigram\"");
  const Outcome refused = run_program({"convert", source, folder / "a.gguf"});
  CHECK(refused.code == kInvalidModel);
  CHECK(contains(refused.err, "tokenizer.json: model: wanted BPE"));
  CHECK(contains(refused.err, "Use the tokenizer.model"));
  CHECK_FALSE(std::filesystem::exists(folder / "a.gguf"));
}

TEST_CASE("a dry run says what would be done and writes nothing") {
  const TemporaryFolder folder;
  const Outcome said = run_program({"convert", kFile, "--dry-run"});
  CHECK(said.code == kOk);
  CHECK(contains(said.err, "TTT-MLP"));
  CHECK(contains(said.err, "nothing written; the file would take about"));
  CHECK(run_program({"convert", kFile, folder / "a.gguf", "--dry-run"}).code == kOk);
  CHECK(folder.names().empty());
}

TEST_CASE("a preset that the checkpoint does not have, and one that does not exist, are refused") {
  const Outcome other = run_program({"convert", kFile, "--dry-run", "--preset", "1.3b-mlp"});
  CHECK(other.code == kInvalidModel);
  CHECK(contains(other.err, "hidden_size: wanted 2048, which 1.3b-mlp has, found 64"));
  const Outcome unknown = run_program({"convert", kFile, "--dry-run", "--preset", "2b"});
  CHECK(unknown.code == kUsage);
  CHECK(contains(unknown.err, "350m-mlp"));
}

TEST_CASE("flags of an import are refused for a model that says these things itself") {
  const Outcome refused =
      run_program({"convert", TTT_TEST_DATA "/golden/linear-mamba", "--dry-run", "--base-lr", "0.5"});
  CHECK(refused.code == kUsage);
  CHECK(contains(refused.err, "--preset and --base-lr are for JAX and PyTorch files"));
}

TEST_CASE("info describes a JAX checkpoint without converting it; run says how to convert it") {
  const Outcome described = run_program({"info", kFile});
  CHECK(described.code == kOk);
  CHECK(contains(described.out, "TTT-MLP"));
  CHECK(contains(described.out, "JAX train state, 861 kB"));
  const auto info = json_info(kFolder, {"--tensors"});
  CHECK(info.at("format") == "JAX train state");
  CHECK(info.at("tensors").size() == 56);
  const Outcome refused = run_program({"run", kFile, "--tokens", "1"});
  CHECK(refused.code == kInvalidModel);
  CHECK(contains(refused.err, "ttt convert " + kFile + " model.gguf"));
}

TEST_CASE("the self-attention baseline becomes a file for llama.cpp, which this program does not run") {
  const TemporaryFolder folder;
  const std::string source = TTT_TEST_DATA "/golden/import/jax-transformer-trainstate-bf16";
  const std::string output = folder / "llama.gguf";
  const Outcome made = run_program({"convert", source, output, "--type", "bf16"});
  CHECK(made.code == kOk);
  CHECK(contains(made.err, "a Transformer with self-attention, 2 layers of width 64, 4 heads"));
  CHECK(contains(made.err, "llama.cpp"));
  const Outcome run = run_program({"run", output, "--tokens", "1", "-n", "1"});
  CHECK(run.code == kInvalidModel);
  CHECK(contains(run.err, "general.architecture: wanted \"ttt\", found llama"));
  const Outcome described = run_program({"info", source});
  CHECK(described.code == kInvalidModel);
  CHECK(contains(described.err, "`ttt convert` makes a .gguf file"));
  for (const char* option : {"--verify", "--preset=125m"}) {
    const Outcome refused = run_program({"convert", source, folder / "a.gguf", option});
    CHECK(refused.code == kUsage);
    CHECK(contains(refused.err, "which this program does not run"));
  }
  CHECK(run_program({"convert", source, "--dry-run"}).code == kOk);
  CHECK(folder.names() == std::set<std::string>{"llama.gguf"});
}

TEST_CASE("a damaged JAX file is refused, and nothing is left behind") {
  const TemporaryFolder folder;
  const std::string cut = folder.write("state", weights::read_file(kFile).substr(0, 100'000));
  const Outcome refused = run_program({"convert", cut, folder / "model.gguf"});
  CHECK(refused.code == kInvalidModel);
  CHECK(contains(refused.err, cut + ": byte "));
  CHECK(folder.names() == std::set<std::string>{"state"});
}

}  // namespace
}  // namespace ttt::cli
