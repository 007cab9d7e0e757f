// SPDX-License-Identifier: Apache-2.0
#include "cli/export.h"

#include <signal.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/exit_code.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using test::Child;
using test::Outcome;
using test::run_program;
using weights::contains;
using weights::TemporaryFolder;

std::string hash_of(const std::string& model) {
  return nlohmann::json::parse(run_program({"info", model, "--check", "--json"}).out)
      .at("check")
      .at("weights_hash");
}

TEST_CASE("an exported folder has the weights, the tokenizer and the text of its model") {
  const TemporaryFolder folder;
  const std::string source = test::make_text_model(folder / "source");
  const std::string gguf = folder / "model.gguf";
  REQUIRE(run_program({"convert", source, gguf}).code == kOk);
  const std::string output = folder / "exported";
  const Outcome made = run_program({"export", gguf, output});
  CHECK(made.code == kOk);
  CHECK(made.out.empty());
  CHECK(contains(made.err, "config.json, tokenizer.model"));
  CHECK(hash_of(output) == hash_of(source));
  CHECK(weights::read_file(output + "/tokenizer.model") == weights::read_file(source + "/tokenizer.model"));
  const auto text = [](const std::string& model) {
    return run_program({"run", model, "-p", "the old man", "-n", "8", "--temp", "0"}).out;
  };
  CHECK(text(output) == text(source));
  CHECK(folder.names() == std::set<std::string>{"source", "model.gguf", "exported"});
}

TEST_CASE("an export refuses a folder that holds something, and takes an empty one") {
  const TemporaryFolder folder;
  const std::string output = folder / "out";
  std::filesystem::create_directory(output);
  folder.write("out/precious", "one");
  folder.write("file", "two");
  CHECK(run_program({"export", test::id_model(), output}).code == kUsage);
  CHECK(run_program({"export", test::id_model(), folder / "file"}).code == kUsage);
  CHECK(run_program({"export", test::id_model()}).code == kUsage);
  CHECK(run_program({"export", test::id_model(), folder / "no/such"}).code == kRuntimeError);
  CHECK(folder.names() == std::set<std::string>{"out", "file"});
  std::filesystem::remove(folder / "out/precious");
  CHECK(run_program({"export", test::id_model(), output + "/"}).code == kOk);
  CHECK(std::filesystem::exists(output + "/model.safetensors"));
  CHECK_FALSE(std::filesystem::exists(output + "/tokenizer.model"));
}

TEST_CASE("an export of quantised weights must be asked for") {
  const TemporaryFolder folder;
  const std::string gguf = folder / "q8.gguf";
  REQUIRE(run_program({"convert", test::id_model(), gguf, "--type", "q8_0"}).code == kOk);
  const Outcome refused = run_program({"export", gguf, folder / "out"});
  CHECK(refused.code == kUsage);
  CHECK(contains(refused.err, "--dequantize"));
  CHECK(run_program({"export", gguf, folder / "out", "--dequantize"}).code == kOk);
  CHECK(run_program({"run", folder / "out", "--tokens", "1,2", "-n", "1"}).code == kOk);
}

TEST_CASE("an export killed at any moment leaves no half folder under the final name") {
  const TemporaryFolder folder;
  const std::string source = test::make_text_model(folder / "source");
  const std::string out = folder / "out";
  const std::string output = out + "/exported";
  for (int round = 0; round < 12; ++round) {
    std::filesystem::remove_all(out);
    std::filesystem::create_directory(out);
    Child child({"export", source, output});
    for (int tries = 0; std::filesystem::is_empty(out) && tries < 20'000; ++tries) ::usleep(50);
    ::usleep(static_cast<useconds_t>(150 * round));
    child.signal(SIGKILL);
    child.wait();
    if (std::filesystem::exists(output)) CHECK(hash_of(output) == hash_of(source));
  }
}

}  // namespace
}  // namespace ttt::cli
