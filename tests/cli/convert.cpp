// SPDX-License-Identifier: Apache-2.0
#include "cli/convert.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/exit_code.h"
#include "cli/open_model.h"
#include "cli/signals.h"
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

nlohmann::json checked_info(const std::string& model) {
  return nlohmann::json::parse(run_program({"info", model, "--check", "--json"}).out);
}

TEST_CASE("a converted file holds the same weights and writes the same text as its folder") {
  const TemporaryFolder folder;
  const std::string source = test::make_text_model(folder / "source");
  const std::string output = folder / "model.gguf";
  const Outcome made = run_program({"convert", source, output});
  CHECK(made.code == kOk);
  CHECK(made.out.empty());
  const auto info = checked_info(output);
  CHECK(info.at("check").at("sound") == true);
  CHECK(contains(made.err, info.at("weights_hash").get<std::string>()));
  CHECK(checked_info(source).at("check").at("weights_hash") == info.at("weights_hash"));
  const auto text = [](const std::string& model) {
    return run_program({"run", model, "-p", "the old man", "-n", "12", "--temp", "0"}).out;
  };
  CHECK(text(output) == text(source));
}

TEST_CASE("the matrices take the type asked for") {
  const TemporaryFolder folder;
  const std::string source = test::make_text_model(folder / "source");
  for (const auto& [type, name] : {std::pair{"f16", "F16"}, std::pair{"bf16", "BF16"}}) {
    const std::string output = folder / type;
    CHECK(run_program({"convert", source, output, "--type", type}).code == kOk);
    const auto info = checked_info(output);
    std::vector<std::string> types;
    for (const auto& part : info.at("precision")) types.push_back(part.at("type"));
    CHECK(types == std::vector<std::string>{"F32", name});
  }
}

TEST_CASE("an existing file is replaced only when asked") {
  const TemporaryFolder folder;
  const std::string output = folder.write("model.gguf", "precious");
  const Outcome refused = run_program({"convert", test::id_model(), output});
  CHECK(refused.code == kUsage);
  CHECK(contains(refused.err, "--force"));
  CHECK(weights::read_file(output) == "precious");
  CHECK(run_program({"convert", test::id_model(), output, "--force"}).code == kOk);
  CHECK(weights::read_file(output).starts_with("GGUF"));
}

TEST_CASE("what is read is not replaced, under whatever name") {
  const TemporaryFolder folder;
  const std::string model = test::make_gguf(folder.path());
  const std::string source = folder / "source";
  const std::string before = weights::read_file(model);
  std::filesystem::create_symlink(model, folder / "symlink.gguf");
  std::filesystem::create_hard_link(model, folder / "link.gguf");
  const auto refused = [&](const std::vector<std::string>& line) {
    const Outcome outcome = run_program(line);
    CAPTURE(line, outcome.err);
    CHECK(outcome.code == kUsage);
    CHECK(contains(outcome.err, line[2] + " is an input, and the output would replace it"));
  };
  for (const std::string& output : {model, folder / "symlink.gguf", folder / "link.gguf"}) {
    refused({"convert", model, output, "--force"});
    refused({"quantize", model, output, "--force"});
    refused({"convert", source, output, "--tokenizer", model, "--force"});
  }
  refused({"convert", folder / "symlink.gguf", model});
  refused({"convert", source, source + "/model.safetensors", "--force"});
  CHECK(weights::read_file(model) == before);
  folder.write("source/model.gguf", "an older file made from this folder");
  CHECK(run_program({"convert", source, source + "/model.gguf", "--force"}).code == kOk);
}

TEST_CASE(
    "a tokenizer of far fewer pieces than the model has ids is warned of, and one given instead is not") {
  const TemporaryFolder folder;
  const std::string padded = test::make_text_model(folder / "padded", 4096 + 127);
  CHECK_FALSE(contains(run_program({"convert", padded, folder / "a.gguf"}).err, "warning"));
  const std::string larger = test::make_text_model(folder / "larger", 5000);
  const std::string told = "ttt: warning: the tokenizer has 4096 pieces and the model 5000 ids, so 904 ";
  CHECK(contains(run_program({"convert", larger, folder / "b.gguf"}).err, told));
  CHECK(contains(run_program({"run", folder / "b.gguf", "-p", "the", "-n", "1"}).err, told));
  CHECK(contains(run_program({"info", folder / "b.gguf"}).out, "4096 pieces and the model 5000 ids"));

  const std::string other = test::make_text_model(folder / "other");
  std::filesystem::remove(other + "/tokenizer.model");
  std::filesystem::copy_file(TTT_TEST_DATA "/tokenizer/llama.json", other + "/tokenizer.json");
  CHECK(contains(run_program({"convert", other, "--dry-run"}).err, "420 pieces and the model 4096 ids"));
  const Outcome given = run_program(
      {"convert", other, folder / "c.gguf", "--tokenizer", TTT_TEST_DATA "/tokenizer/demo.model"});
  CHECK(given.code == kOk);
  CHECK_FALSE(contains(given.err, "warning"));
}

TEST_CASE("a folder without a tokenizer is converted with a warning") {
  const TemporaryFolder folder;
  const Outcome made = run_program({"convert", test::id_model(), folder / "ids.gguf"});
  CHECK(made.code == kOk);
  CHECK(contains(made.err, "ttt: warning: "));
  CHECK(run_program({"run", folder / "ids.gguf", "--tokens", "1,2", "-n", "2"}).code == kOk);
}

TEST_CASE("an output that cannot be written is named, and nothing is left") {
  const TemporaryFolder folder;
  const Outcome missing = run_program({"convert", test::id_model(), folder / "no/such/model.gguf"});
  CHECK(missing.code == kRuntimeError);
  CHECK(contains(missing.err, "no/such/model.gguf"));
  CHECK(run_program({"convert", test::id_model(), folder.path()}).code == kUsage);
  CHECK(run_program({"convert", test::id_model()}).code == kUsage);
  CHECK(folder.names().empty());
}

TEST_CASE("a limit on the size of files is told like a full disk, and nothing is left") {
  const TemporaryFolder folder;
  const std::string model = test::make_gguf(folder.path());
  const std::set<std::string> names = folder.names();
  const TemporaryFolder elsewhere;
  const std::string command = std::string("ulimit -f 32; exec '") + TTT_PROGRAM + "' quantize '" + model +
                              "' '" + folder / "out.gguf" + "' 2>'" + elsewhere / "errors" + "'";
  const int status = std::system(command.c_str());
  CHECK(WEXITSTATUS(status) == kRuntimeError);
  const std::string errors = weights::read_file(elsewhere / "errors");
  CHECK(contains(errors, "ttt: error: cannot write " + folder / "out.gguf" + " (write): File too large"));
  CHECK(folder.names() == names);
}

TEST_CASE("a source that shrinks while it is converted leaves nothing behind") {
  const TemporaryFolder folder;
  const std::string model = test::make_gguf(folder.path());
  std::filesystem::create_directory(folder / "out");
  const pid_t process = ::fork();
  if (process == 0) {
    ::close(STDERR_FILENO);
    install_signal_handlers();
    const ModelFiles files(model);
    const auto shrink = [&](std::uint64_t, std::uint64_t) {
      std::filesystem::resize_file(model, 0);
      return true;
    };
    ttt::convert(files.model, {}, nullptr, folder / "out/model.gguf", {.progress = shrink});
    ::_exit(kOk);
  }
  int status = 0;
  ::waitpid(process, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == kInvalidModel);
  CHECK(std::filesystem::is_empty(folder / "out"));
}

TEST_CASE("a conversion killed at any moment leaves no half file under the final name") {
  const TemporaryFolder folder;
  const std::string source = test::make_text_model(folder / "source");
  const std::string out = folder / "out";
  const std::string output = out + "/model.gguf";
  int killed_while_writing = 0;
  for (int round = 0; round < 20; ++round) {
    std::filesystem::remove_all(out);
    std::filesystem::create_directory(out);
    Child child({"convert", source, output});
    // From when the temporary stands there, wait a little longer each time.
    for (int tries = 0; std::filesystem::is_empty(out) && tries < 20'000; ++tries) ::usleep(50);
    ::usleep(static_cast<useconds_t>(100 * round));
    child.signal(SIGKILL);
    const Outcome outcome = child.wait();
    const bool is_there = std::filesystem::exists(output);
    if (outcome.killed && !is_there) ++killed_while_writing;
    if (is_there) CHECK(checked_info(output).at("check").at("sound") == true);
  }
  CHECK(killed_while_writing > 0);
}

}  // namespace
}  // namespace ttt::cli
