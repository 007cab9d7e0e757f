// SPDX-License-Identifier: Apache-2.0
// --state-in and --state-out of `ttt run`, by the program itself: what goes on is what would have come.
#include "cli/state_files.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

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

const std::string kDemoModels[] = {TTT_MODELS "/demo-linear.gguf", TTT_MODELS "/demo-mlp.gguf"};

// Drawn, with a seed: every token depends on all before it and on its position.
Outcome go(const std::string& model, std::vector<std::string> more, const test::ChildOptions& options = {}) {
  std::vector<std::string> arguments = {"run", model, "--seed", "5", "--temp", "0.9", "--ignore-eos"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments, options);
}

std::string text_of(const Outcome& outcome) {
  INFO(outcome.err);
  CHECK(outcome.code == kOk);
  return outcome.out;
}

}  // namespace

TEST_CASE("a text goes on from its file as if it had never stopped, however often") {
  for (const std::string& model : kDemoModels) {
    const TemporaryFolder folder;
    const std::string file = folder / "sequence.tttstate";
    const std::string whole = text_of(go(model, {"-p", "The old man", "-n", "60"}));
    std::string found = text_of(go(model, {"-p", "The old man", "-n", "7", "--state-out", file}));
    for (const char* count : {"1", "16", "20", "16"}) {  // ends of mini-batches among them
      found += text_of(go(model, {"--state-in", file, "--state-out", file, "-n", count}));
    }
    CHECK(found == whole);
  }
}

TEST_CASE("a prompt that was read once is continued as often as one likes") {
  const std::string& model = kDemoModels[0];
  const TemporaryFolder folder;
  const std::string file = folder / "prompt.tttstate";
  // Of 1 to 40 tokens: to the end of a mini-batch, and past it.
  for (const std::size_t size : {1U, 2U, 16U, 17U, 32U, 40U}) {
    std::string ids = "1";
    for (std::size_t i = 1; i < size; ++i) ids += "," + std::to_string(100 + i);
    INFO(size);
    CHECK(text_of(go(model, {"--tokens", ids, "-n", "0", "--state-out", file})).empty());
    for (const char* seed : {"5", "6"}) {
      const std::vector<std::string> drawn = {"-n", "12", "--seed", seed};
      std::vector<std::string> again = {"--tokens", ids}, from_file = {"--state-in", file};
      again.insert(again.end(), drawn.begin(), drawn.end());
      from_file.insert(from_file.end(), drawn.begin(), drawn.end());
      CHECK(text_of(go(model, from_file)) == text_of(go(model, again)));
    }
    // Another prompt behind it.
    CHECK(text_of(go(model, {"--state-in", file, "--tokens", "7,8,9", "-n", "12"})) ==
          text_of(go(model, {"--tokens", ids + ",7,8,9", "-n", "12"})));
  }
}

TEST_CASE("a text behind a saved one goes on as it stands") {
  const std::string& model = kDemoModels[1];
  const TemporaryFolder folder;
  const std::string file = folder / "sequence.tttstate";
  text_of(go(model, {"-p", "The old man", "-n", "0", "--state-out", file}));
  const std::string one = text_of(go(model, {"--state-in", file, "-p", " sat down", "-n", "9", "--echo"}));
  CHECK(one.substr(0, 20) == "The old man sat down");
  CHECK(one == text_of(go(model, {"-p", "The old man sat down", "-n", "9", "--echo"})));
  const Outcome refused = go(model, {"--state-in", file, "-p", "a", "--no-bos"});
  CHECK(refused.code == kUsage);
}

TEST_CASE("what was not read again is told") {
  const std::string& model = kDemoModels[0];
  const TemporaryFolder folder;
  const std::string file = folder / "prompt.tttstate";
  const Outcome saved = go(model, {"--tokens", "1,2,3,4,5", "-n", "0", "--state-out", file});
  CHECK(contains(saved.err, file + ": 4 of 5 tokens read, a state of "));
  struct stat status {};
  REQUIRE(::stat(file.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  const Outcome outcome = go(model, {"--state-in", file, "-n", "3", "--json", "--timings"});
  const nlohmann::json usage = nlohmann::json::parse(text_of(outcome)).at("usage");
  CHECK(usage.at("prompt_tokens") == 5);
  CHECK(usage.at("prompt_tokens_details").at("cached_tokens") == 4);
  CHECK(contains(outcome.err, "prompt       1 tokens"));
  CHECK_FALSE(nlohmann::json::parse(text_of(go(model, {"-p", "a", "-n", "1", "--json"})))
                  .at("usage")
                  .contains("prompt_tokens_details"));
}

TEST_CASE("a saved state is described, for people and for programs") {
  const TemporaryFolder folder;
  const std::string file = folder / "sequence.tttstate";
  text_of(go(kDemoModels[0], {"--tokens", "1,2,3", "-n", "2", "--state-out", file}));
  const std::string text = text_of(run_program({"info", file}));
  CHECK(contains(text, "5 tokens, of which 4 are read"));
  const auto state = nlohmann::json::parse(text_of(run_program({"info", file, "--json"})));
  CHECK(state.at("tokens").size() == 5);
  CHECK(state.at("tokens").at(2) == 3);
  CHECK(state.at("tokens_read") == 4);
  const auto model = nlohmann::json::parse(text_of(run_program({"info", kDemoModels[0], "--json"})));
  CHECK(state.at("weights_hash") == model.at("weights_hash"));
  std::filesystem::resize_file(file, 1000);
  CHECK(run_program({"info", file}).code == kInvalidModel);
}

TEST_CASE("Ctrl-C saves what was read and drawn so far") {
  const std::string& model = kDemoModels[0];
  const TemporaryFolder folder;
  const std::string file = folder / "sequence.tttstate";
  Child child({"run", model, "-p", "The old man", "-n", "-1", "--ignore-eos", "--temp", "0.9", "--seed", "5",
               "--state-out", file});
  REQUIRE(child.read_output(20));
  child.signal(SIGINT);
  const Outcome begun = child.wait();
  CHECK(begun.code == kInterrupted);
  const std::string found = begun.out + text_of(go(model, {"--state-in", file, "-n", "10"}));
  const std::string whole = text_of(go(model, {"-p", "The old man", "-n", "4000"}));
  CHECK(whole.substr(0, found.size()) == found);
}

TEST_CASE("where stdout takes no more, what was read and drawn so far is saved") {
  const std::string& model = kDemoModels[0];
  const TemporaryFolder folder;
  const std::string file = folder / "sequence.tttstate";
  const std::vector<std::string> endless = {"run", model,          "-p",     "The old man", "-n",
                                            "-1",  "--ignore-eos", "--temp", "0.9",         "--seed",
                                            "5",   "--state-out",  file};
  const std::string whole = text_of(go(model, {"-p", "The old man", "-n", "20000"}));
  {
    Child child(endless);  // whose reader goes away
    REQUIRE(child.read_output(20));
    child.close_output();
    CHECK(child.wait().code == kOk);
  }
  {
    const std::string rest = text_of(go(model, {"--state-in", file, "-n", "10"}));
    CHECK(contains(whole, rest));
    std::filesystem::remove(file);
  }
  std::vector<std::string> blocked = endless;
  blocked.insert(blocked.end(), {"-v", "--echo"});
  Child child(blocked, {.full_stdout = true});  // whose reader does not read
  REQUIRE(child.read_errors_until("prompt"));
  child.signal(SIGINT);
  CHECK(child.ends_within(20'000));
  CHECK(child.wait().code == kInterrupted);
  text_of(go(model, {"--state-in", file, "-n", "1"}));
}

TEST_CASE("a state that cannot be written loses neither the answer nor what stood there before") {
  const std::string& model = kDemoModels[0];
  const TemporaryFolder folder;
  const std::string file = folder / "sequence.tttstate", answer = folder / "answer";
  text_of(go(model, {"-p", "The old man", "-n", "3", "--state-out", file}));
  const std::string before = weights::read_file(file);
  const std::string command = std::string("ulimit -f 64; exec '") + TTT_PROGRAM + "' run '" + model +
                              "' -p 'The old' -n 3 --json --state-out '" + file + "' >'" + answer + "' 2>'" +
                              folder / "errors" + "'";
  CHECK(WEXITSTATUS(std::system(command.c_str())) == kRuntimeError);
  CHECK(contains(weights::read_file(folder / "errors"), "cannot write " + file));
  CHECK(nlohmann::json::parse(weights::read_file(answer)).at("finish_reason") == "length");
  CHECK(weights::read_file(file) == before);
  CHECK(folder.names() == std::set<std::string>{"answer", "errors", "sequence.tttstate"});
}

TEST_CASE("a time limit, a stop string and a drawn end save what a prompt behind them goes on from") {
  const std::string& model = kDemoModels[0];
  const TemporaryFolder folder;
  const std::string file = folder / "sequence.tttstate";
  CHECK(go(model, {"-p", "The old man", "-n", "-1", "--timeout", "0.3", "--state-out", file}).code ==
        kTimeLimit);
  text_of(go(model, {"--state-in", file, "-n", "1"}));
  const std::string stopped =
      text_of(go(model, {"-p", "The old man", "-n", "200", "--stop", "e", "--state-out", file}));
  const std::string joined = stopped + text_of(go(model, {"--state-in", file, "-n", "9", "--echo"}));
  CHECK(contains(joined, stopped));
  // Several continuations of one file.
  const Outcome three = go(model, {"--state-in", file, "--tokens", "7,8", "-n", "4", "--num", "3"});
  CHECK(contains(text_of(three), "=== 3 of 3 ==="));
  const Outcome piped =
      go(model, {"--state-in", file, "-f", "-", "-n", "2", "--echo"}, {.input = " sat down"});
  CHECK(contains(text_of(piped), " sat down"));
}

TEST_CASE("a sequence goes on with another kind of device, and that is said") {
  const std::string& model = kDemoModels[0];
  const TemporaryFolder folder;
  const std::string file = folder / "sequence.tttstate";
  const test::ChildOptions on_gpu{.failing_kernel = 0};
  const std::vector<std::string> greedy = {"--temp", "0", "--precision", "exact"};
  const auto piece = [&](std::vector<std::string> arguments, const test::ChildOptions& options) {
    arguments.insert(arguments.end(), greedy.begin(), greedy.end());
    return go(model, arguments, options);
  };
  const std::string whole = text_of(piece({"-p", "The old man", "-n", "12"}, {}));
  std::string found = text_of(piece({"-p", "The old man", "-n", "4", "--state-out", file}, {}));
  const Outcome device =
      piece({"--state-in", file, "--state-out", file, "-n", "4", "--device", "cuda"}, on_gpu);
  found += text_of(device);
  CHECK(contains(device.err, ", goes on by sm_90-exact: the same within rounding"));
  found += text_of(piece({"--state-in", file, "-n", "4"}, {}));
  CHECK(found == whole);
}

TEST_CASE("a state that is not to be used, or a name that is not to be written, is refused in time") {
  const TemporaryFolder folder;
  const std::string file = folder / "sequence.tttstate", other = folder / "other.txt";
  const std::string& model = kDemoModels[0];
  text_of(go(model, {"-p", "The old man", "-n", "3", "--state-out", file}));
  folder.write("other.txt", "text");
  const std::string damaged = folder / "damaged.tttstate";
  std::string bytes = weights::read_file(file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  folder.write("damaged.tttstate", bytes);
  struct Case {
    std::vector<std::string> arguments;
    ExitCode code;
    std::string text;
  };
  for (const auto& [arguments, code, text] : std::vector<Case>{
           {{"--state-in", damaged, "-n", "1"}, kInvalidModel, "damaged.tttstate"},
           {{"--state-in", folder / "none", "-n", "1"}, kInvalidModel, "none"},
           {{"--state-in", other, "-n", "1"}, kInvalidModel, "other.txt"},
           {{"-p", "a", "-n", "1", "--state-out", other}, kUsage, "is no saved state; name another file"},
           {{"-p", "a", "-n", "1", "--state-out", folder / "no/file"}, kRuntimeError, "no/file"},
           {{"-p", "a", "-n", "1", "--state-out", "/proc/file"}, kRuntimeError, "/proc/file"},
           {{"-p", "a", "-n", "1", "--state-out", ""}, kUsage, "wanted a file"},
           {{"-p", "a", "-n", "1", "--best-of", "2", "--state-out", file}, kUsage, "saves one sequence"},
           {{"-p", "a", "-n", "1", "--state-out", folder.path()}, kUsage, "is a folder"},
           {{"-p", "a", "-n", "1", "--num", "2", "--state-out", file}, kUsage, "saves one sequence"},
           {{"--batch", other, "--state-in", file}, kUsage, "not for --batch"},
           {{"--state-in", file, "-n", "1", "--echo", "--logprobs", "1", "--json"},
            kUsage,
            "has none of the"},
       }) {
    const Outcome outcome = go(model, arguments);
    INFO(outcome.err);
    CHECK(outcome.code == code);
    CHECK(contains(outcome.err, text));
    CHECK(outcome.out.empty());
  }
  const Outcome foreign = go(kDemoModels[1], {"--state-in", file, "-n", "1"});
  CHECK(foreign.code == kInvalidModel);
  CHECK(contains(foreign.err, "sequence.tttstate"));
  CHECK(weights::read_file(other) == "text");
}

TEST_CASE("a model whose file states no hash is told by its weights") {
  const TemporaryFolder folder;
  const std::string model = test::make_text_model(folder / "model");
  const std::string file = folder / "sequence.tttstate";
  const std::string whole = text_of(go(model, {"-p", "the old", "-n", "30"}));
  std::string found = text_of(go(model, {"-p", "the old", "-n", "10", "--state-out", file}));
  found += text_of(go(model, {"--state-in", file, "-n", "20"}));
  CHECK(found == whole);
}

}  // namespace ttt::cli
