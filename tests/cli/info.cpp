// SPDX-License-Identifier: Apache-2.0
#include "cli/info.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "cli/exit_code.h"
#include "engine/state_layout.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using test::Outcome;
using test::run_program;
using weights::contains;
using weights::TemporaryFolder;

TEST_CASE("a model is described for people") {
  const Outcome outcome = run_program({"info", test::id_model()});
  CHECK(outcome.code == kOk);
  CHECK(outcome.err.empty());
  for (const char* part :
       {"TTT-Linear", "Mamba", "2 layers of width 64, 4 heads of 16", "mini-batch of 16 tokens", "F32 in",
        "none: token ids only", "2048 tokens of context", "Hugging Face folder"}) {
    CAPTURE(part);
    CHECK(contains(outcome.out, part));
  }
}

TEST_CASE("a model is described for programs") {
  const TemporaryFolder folder;
  const std::string model = test::make_gguf(folder.path());
  const auto info = nlohmann::json::parse(run_program({"info", model, "--json", "--tensors", "--check"}).out);
  CHECK(info.at("schema") == 1);
  CHECK(info.at("config").at("vocab_size") == 4096);
  CHECK(info.at("tokenizer").at("pieces") == 4096);
  CHECK(info.at("tokenizer").at("bos_id") == 1);
  CHECK(info.at("file_bytes") == std::filesystem::file_size(model));
  CHECK(info.at("check").at("sound") == true);
  const ModelFiles files(model);
  CHECK(info.at("state_bytes").at("fresh") == state_bytes(files.model.config, 0));
  CHECK(info.at("state_bytes").at("max") == state_bytes(files.model.config, 15));
  std::uint64_t parameters = 0;
  for (const auto& tensor : info.at("tensors")) {
    std::uint64_t product = 1;
    for (const auto& extent : tensor.at("shape")) product *= extent.get<std::uint64_t>();
    parameters += product;
  }
  CHECK(info.at("parameters") == parameters);
}

TEST_CASE("a tokenizer whose special tokens contradict the configuration is found by a check") {
  const TemporaryFolder folder;
  const std::string model = test::make_text_model(folder / "model");
  test::edit_file(model + "/config.json", "\"eos_token_id\": 2", "\"eos_token_id\": 7");
  const Outcome outcome = run_program({"info", model, "--check"});
  CHECK(outcome.code == kInvalidModel);
  CHECK(contains(outcome.out, "the configuration's eos token is 7, the tokenizer's is 2"));
}

TEST_CASE("what a machine can compute on is listed without a model") {
  const Outcome text = run_program({"info", "--devices"});
  CHECK(text.code == kOk);
  CHECK(text.out.starts_with("cpu "));
  CHECK(contains(text.out, "\nCUDA "));
  const auto list = nlohmann::json::parse(run_program({"info", "--devices", "--json"}).out);
  CHECK(list.at("devices").at(0).at("device") == "cpu");
  CHECK_FALSE(list.at("cuda").get<std::string>().empty());
}

TEST_CASE("what --device auto chose, and why, is said") {
  const Outcome outcome = run_program({"run", test::id_model(), "--tokens", "1,2", "-n", "1", "-v"});
  CHECK(outcome.code == kOk);
  CHECK(contains(outcome.err, "--device auto: "));
  CHECK(contains(outcome.err, ", because "));
}

}  // namespace
}  // namespace ttt::cli
