// SPDX-License-Identifier: Apache-2.0
// Ctrl-C, closed pipes and files that change: how the program ends when it is not its own choice.
#include "cli/signals.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/convert.h"
#include "cli/exit_code.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using test::Child;
using test::Outcome;
using weights::contains;
using weights::TemporaryFolder;

// Generates until it is stopped: nothing is greedy about 4096 random words, and eos comes rarely.
std::vector<std::string> endless(const std::string& model) {
  return {"run", model, "-p", "the old man", "-n", "-1", "--temp", "1", "--seed", "3"};
}

TEST_CASE("Ctrl-C ends generation with code 130 and keeps the text so far") {
  const TemporaryFolder folder;
  const std::string model = test::make_text_model(folder / "model");
  Child child(endless(model));
  REQUIRE(child.read_output(20));
  child.signal(SIGINT);
  const Outcome outcome = child.wait();
  CHECK(outcome.code == kInterrupted);
  CHECK_FALSE(outcome.killed);
  CHECK(outcome.err.empty());

  std::vector<std::string> longer = endless(model);
  longer[5] = "100";
  const std::string whole = test::run_program(longer).out;
  CHECK(whole.substr(0, outcome.out.size()) == outcome.out.substr(0, whole.size()));
}

TEST_CASE("what the caller ignores stays ignored: nohup") {
  const TemporaryFolder folder;
  const std::string model = test::make_text_model(folder / "model");
  ::signal(SIGHUP, SIG_IGN);
  Child child(endless(model));
  ::signal(SIGHUP, SIG_DFL);
  REQUIRE(child.read_output(20));
  child.signal(SIGHUP);
  CHECK(child.read_output(200));
  child.signal(SIGINT);
  CHECK(child.wait().code == kInterrupted);
}

TEST_CASE("a closed stdin is an empty prompt, not a hang") {
  const TemporaryFolder folder;
  const std::string model = test::make_text_model(folder / "model");
  const std::string command =
      std::string("exec '") + TTT_PROGRAM + "' run '" + model + "' -n 3 --temp 0 <&- >/dev/null";
  CHECK(std::system(command.c_str()) == 0);
}

TEST_CASE("Ctrl-C under --json still gives the whole object") {
  const TemporaryFolder folder;
  std::vector<std::string> arguments = endless(test::make_text_model(folder / "model"));
  arguments.insert(arguments.end(), {"--json", "-v"});
  Child child(arguments);
  REQUIRE(child.read_errors_until("prompt"));
  child.signal(SIGINT);
  const Outcome outcome = child.wait();
  CHECK(outcome.code == kInterrupted);
  CHECK(nlohmann::json::parse(outcome.out).at("finish_reason") == "interrupted");
}

TEST_CASE("Ctrl-C ends the program also where nobody reads stdout") {
  const TemporaryFolder folder;
  std::vector<std::string> arguments = endless(test::make_text_model(folder / "model"));
  arguments.insert(arguments.end(), {"-v", "--echo"});  // the echo is the write that blocks
  Child child(arguments, {.full_stdout = true});
  REQUIRE(child.read_errors_until("prompt"));
  CHECK_FALSE(child.ends_within(200));
  child.signal(SIGINT);
  CHECK(child.ends_within(20'000));
  const Outcome outcome = child.wait();
  CHECK(outcome.code == kInterrupted);
  CHECK_FALSE(outcome.killed);
}

TEST_CASE("SIGTERM ends generation with 128 and its number") {
  const TemporaryFolder folder;
  Child child(endless(test::make_text_model(folder / "model")));
  REQUIRE(child.read_output(1));
  child.signal(SIGTERM);
  const Outcome outcome = child.wait();
  CHECK(outcome.code == 128 + SIGTERM);
  CHECK_FALSE(outcome.killed);
}

TEST_CASE("Ctrl-C while the prompt is read from stdin ends with code 130") {
  if (!test::has_terminals()) {
    WARN("no pseudo-terminals here: not tested");
    return;
  }
  const TemporaryFolder folder;
  const std::string model = test::make_text_model(folder / "model");
  Child child({"run", model, "-", "-v"}, {.stdin_terminal = true});
  REQUIRE(child.read_errors_until("kernels for"));
  child.signal(SIGINT);
  CHECK(child.wait().code == kInterrupted);
}

TEST_CASE("a reader that goes away ends the program quietly") {
  const TemporaryFolder folder;
  Child child(endless(test::make_text_model(folder / "model")));
  REQUIRE(child.read_output(10));
  child.close_output();
  const Outcome outcome = child.wait();
  CHECK(outcome.code == kOk);
  CHECK_FALSE(outcome.killed);
  CHECK(outcome.err.empty());
}

// Its embedding stays in the file, as it is not the output head too.
TEST_CASE("a mapped model file that shrinks while in use ends with code 3 and a sentence") {
  const TemporaryFolder folder;
  std::filesystem::copy(TTT_TEST_DATA "/golden/linear-untied-minibatch8", folder / "model");
  Child child({"run", folder / "model", "--tokens", "1,2,3", "-n", "-1", "--temp", "1", "--ignore-eos"});
  REQUIRE(child.read_output(10));
  std::filesystem::resize_file(folder / "model/model.safetensors", 0);
  const Outcome outcome = child.wait();
  CHECK(outcome.code == kInvalidModel);
  CHECK_FALSE(outcome.killed);
  CHECK(contains(outcome.err, "ttt: error: the model file changed while in use"));
}

TEST_CASE("a model file that was read needs to be there no more") {
  const TemporaryFolder folder;
  std::filesystem::copy(TTT_TEST_DATA "/golden/linear-untied-minibatch8", folder / "model");
  const std::vector<std::string> arguments = {"run", folder / "model", "--no-mmap", "--tokens", "1,2,3",
                                              "-n",  "20000",          "--temp",    "1",        "--seed",
                                              "1",   "--ignore-eos"};
  const std::string whole = test::run_program(arguments).out;
  Child child(arguments);
  REQUIRE(child.read_output(10));
  std::filesystem::resize_file(folder / "model/model.safetensors", 0);
  const Outcome outcome = child.wait();
  CHECK(outcome.code == kOk);
  CHECK(outcome.out == whole);
}

TEST_CASE("a model whose embedding is its output head is packed whole and needs its file no more") {
  const TemporaryFolder folder;
  const std::string model = test::make_gguf(folder.path());
  std::vector<std::string> arguments = endless(model);
  arguments[5] = "300";
  const std::string whole = test::run_program(arguments).out;
  Child child(arguments);
  REQUIRE(child.read_output(10));
  std::filesystem::resize_file(model, 0);
  const Outcome outcome = child.wait();
  CHECK(outcome.code == kOk);
  CHECK(outcome.out == whole);
}

TEST_CASE("an interrupted conversion leaves nothing behind") {
  const TemporaryFolder folder;
  const std::string source = test::make_text_model(folder / "source");
  std::filesystem::create_directory(folder / "out");
  const pid_t process = ::fork();  // the request to end stays set for the rest of a process
  if (process == 0) {
    install_signal_handlers();
    ::raise(SIGINT);
    try {
      ConvertCommandOptions options;
      options.source = source;
      options.output = folder / "out/model.gguf";
      convert(options);
    } catch (const Interrupted&) {
      ::_exit(interrupted_exit_code());
    }
    ::_exit(kOk);
  }
  int status = 0;
  ::waitpid(process, &status, 0);
  CHECK(WEXITSTATUS(status) == kInterrupted);
  CHECK(std::filesystem::is_empty(folder / "out"));
}

}  // namespace
}  // namespace ttt::cli
