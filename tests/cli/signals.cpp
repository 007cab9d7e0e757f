// SPDX-License-Identifier: Apache-2.0
// Ctrl-C, closed pipes and files that change: how the program ends when it is not its own choice.
#include "cli/signals.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>

#include "cli/convert.h"
#include "cli/exit_code.h"
#include "cli/open_model.h"
#include "cli/standard_streams.h"
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

TEST_CASE("a closed stdout is an error, as what was to be written is lost") {
  const TemporaryFolder folder;
  const std::string model = test::make_text_model(folder / "model");
  const std::string command =
      std::string("exec '") + TTT_PROGRAM + "' run '" + model + "' -p the -n 3 --temp 0 >&- 2>/dev/null";
  CHECK(WEXITSTATUS(std::system(command.c_str())) == kRuntimeError);
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

// Ends with 0 where `work` does not notice that the end was asked for before it began.
template <typename Work>
int code_after_the_signal(Work&& work) {
  const pid_t process = ::fork();  // the request to end stays set for the rest of a process
  if (process == 0) {
    install_signal_handlers();
    ::raise(SIGINT);
    try {
      work();
    } catch (const Interrupted&) {
      ::_exit(interrupted_exit_code());
    }
    ::_exit(kOk);
  }
  int status = 0;
  ::waitpid(process, &status, 0);
  return WEXITSTATUS(status);
}

TEST_CASE("an interrupted conversion leaves nothing behind") {
  const TemporaryFolder folder;
  ConvertCommandOptions options;
  options.source = test::make_text_model(folder / "source");
  std::filesystem::create_directory(folder / "out");
  options.output = folder / "out/model.gguf";
  CHECK(code_after_the_signal([&] { convert(options); }) == kInterrupted);
  CHECK(std::filesystem::is_empty(folder / "out"));
}

TEST_CASE("a model is not loaded to its end when the end was asked for") {
  const TemporaryFolder folder;
  ModelOptions options;
  options.model = test::make_text_model(folder / "model");
  options.threads = 1;
  CHECK(code_after_the_signal([&] { const OpenModel model(options, {}); }) == kInterrupted);
}

// A process that was asked to end before it writes 1 MiB to a pipe; the number of bytes that came, and its
// code.
std::pair<std::size_t, int> written_after_the_signal(bool is_read) {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  std::size_t count = 0;
  std::thread reader([&] {
    std::array<char, 4096> buffer{};
    for (ssize_t got = 1; is_read && got > 0; count += static_cast<std::size_t>(got)) {
      got = ::read(ends[0], buffer.data(), buffer.size());
    }
  });
  const int code = code_after_the_signal([&] {
    ::dup2(ends[1], STDOUT_FILENO);
    write_stdout(std::string(1 << 20, 'x'));
  });
  ::close(ends[1]);
  reader.join();
  ::close(ends[0]);
  return {count, code};
}

TEST_CASE("after Ctrl-C who reads gets the rest, and who does not read is not waited for") {
  CHECK(written_after_the_signal(true) == std::pair(std::size_t{1} << 20, int{kOk}));
  CHECK(written_after_the_signal(false) == std::pair(std::size_t{0}, int{kInterrupted}));
}

}  // namespace
}  // namespace ttt::cli
