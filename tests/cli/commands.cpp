// SPDX-License-Identifier: Apache-2.0
// The program as a whole: what it says about itself, and how it refuses wrong command lines.
#include "cli/commands.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/exit_code.h"
#include "cli/help.h"
#include "cli/man_page.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using test::Outcome;
using test::run_program;
using weights::contains;

// A name as it stands in roff.
std::string in_roff(const std::string& name) {
  std::string result;
  for (const char c : name) result += c == '-' ? std::string("\\-") : std::string(1, c);
  return result;
}

TEST_CASE("the manual page and the help mention every command and every option") {
  const Commands commands;
  const std::string page = man_page(commands.list());
  REQUIRE(commands.list().size() > 10);
  for (const Command& command : commands.list()) {
    CAPTURE(command.name());
    CHECK(contains(page, ".SS ttt " + command.name()));
    CHECK(contains(overview_text(commands.list()), "  " + command.name()));
    const std::string help = help_text(command);
    for (const Option& option : command.options()) {
      for (const std::string& name : option.names) {
        CAPTURE(name);
        CHECK(contains(page, in_roff(name)));
        CHECK(contains(help, name));
      }
      CHECK((option.environment.empty() || contains(page, option.environment)));
    }
  }
}

TEST_CASE("one option has one help text of at most a line and no name twice within a command") {
  const Commands commands;
  for (const Command& command : commands.list()) {
    std::set<std::string> names;
    for (const Option& option : command.options()) {
      CAPTURE(command.name(), option.key());
      CHECK_FALSE(option.help.empty());
      CHECK_FALSE(option.help.ends_with('.'));
      for (const std::string& name : option.names) CHECK(names.insert(name).second);
    }
  }
}

TEST_CASE("an option that two commands share has the same names in both") {
  const Commands commands;
  std::map<std::string, std::vector<std::string>> names_of;
  const std::set<std::string> own_meaning = {"model", "tokens", "file"};
  for (const Command& command : commands.list()) {
    for (const Option& option : command.options()) {
      if (option.names.empty() || own_meaning.contains(option.key())) continue;
      CAPTURE(command.name(), option.key());
      CHECK(names_of.try_emplace(option.key(), option.names).first->second == option.names);
    }
  }
}

TEST_CASE("the manual page is what roff expects") {
  const Outcome page = run_program({"man"});
  CHECK(page.code == kOk);
  CHECK(page.out.starts_with(".TH TTT 1"));
  for (const char* section : {"NAME", "SYNOPSIS", "EXIT STATUS", "ENVIRONMENT", "EXAMPLES"}) {
    CHECK(contains(page.out, std::string(".SH ") + section));
  }
}

TEST_CASE("an unknown command or option ends with code 2, the nearest match, and nothing on stdout") {
  const Outcome command = run_program({"rum", "x.gguf"});
  CHECK(command.code == kUsage);
  CHECK(contains(command.err, "ttt: error: unknown command 'rum'; did you mean ttt run?"));
  const Outcome option = run_program({"run", "x.gguf", "--tempp", "1"});
  CHECK(option.code == kUsage);
  CHECK(contains(option.err, "ttt: error: unknown option --tempp; did you mean --temp?"));
  const Outcome half = run_program({"eval"});
  CHECK(half.code == kUsage);
  CHECK(contains(half.err, "ppl or logits"));
  CHECK((command.out + option.out + half.out).empty());
}

TEST_CASE("no command at all is answered with the overview on stderr and code 2") {
  const Outcome nothing = run_program({});
  CHECK(nothing.code == kUsage);
  CHECK(nothing.out.empty());
  CHECK(contains(nothing.err, "usage: ttt COMMAND"));
}

TEST_CASE("help knows commands, words of their options, and says when it knows nothing") {
  CHECK(contains(run_program({"help", "run"}).out, "usage: ttt run"));
  CHECK(contains(run_program({"help", "generate"}).out, "usage: ttt run"));
  CHECK(contains(run_program({"help", "eval", "ppl"}).out, "usage: ttt eval ppl"));
  CHECK(contains(run_program({"--help"}).out, "usage: ttt COMMAND"));
  CHECK(contains(run_program({"run", "--help"}).out, "--max-tokens"));
  const Outcome search = run_program({"run", "--help=maxtokens"});
  CHECK(contains(search.out, "--max-tokens"));
  CHECK_FALSE(contains(search.out, "--seed"));
  const Outcome nothing = run_program({"help", "xyzzy"});
  CHECK(nothing.code == kUsage);
  CHECK(contains(nothing.err, "xyzzy"));
}

TEST_CASE("the version is told to people and to programs") {
  CHECK(run_program({"--version"}).out.starts_with("ttt 0."));
  const auto version = nlohmann::json::parse(run_program({"version", "--json"}).out);
  CHECK(version.at("schema") == 1);
  CHECK(version.at("compiler").get<std::string>().size() > 3);
  CHECK(version.at("libraries").size() == 9);
  for (const auto& [name, number] : version.at("libraries").items()) {
    CAPTURE(name);
    CHECK(contains(number.get<std::string>(), "."));
  }
}

TEST_CASE("print-config shows every value and where it comes from, without opening the model") {
  const Outcome shown = run_program({"run", "no-such-file", "-n", "2k", "--print-config"},
                                    {.environment = {{"TTT_TEMPERATURE", "0.25"}}});
  CHECK(shown.code == kOk);
  CHECK(contains(shown.out, "max-tokens = 2k  (command line)\n"));
  CHECK(contains(shown.out, "temperature = 0.25  (environment TTT_TEMPERATURE)\n"));
  CHECK(contains(shown.out, "seed = unset  (default)\n"));
}

TEST_CASE("print-config does not show keys, wherever they come from") {
  const std::vector<std::string> command = {"serve", "no-such-file", "--print-config"};
  CHECK(contains(run_program(command).out, "api-key = unset  (default)\n"));
  const Outcome given = run_program({"serve", "no-such-file", "--api-key", "secret-1", "--print-config"});
  CHECK(contains(given.out, "api-key = (hidden)  (command line)\n"));
  CHECK_FALSE(contains(given.out, "secret-1"));
  const Outcome set = run_program(command, {.environment = {{"TTT_API_KEY", "secret-2"}}});
  CHECK(contains(set.out, "api-key = (hidden)  (environment TTT_API_KEY)\n"));
  CHECK_FALSE(contains(set.out, "secret-2"));
}

TEST_CASE("every command that opens a model can say what it does") {
  const Commands commands;
  for (const Command& command : commands.list()) {
    CAPTURE(command.name());
    const bool opens =
        std::ranges::any_of(command.options(), &Option::names_model) || command.is_named("demo");
    const bool verbose =
        std::ranges::any_of(command.options(), [](const Option& o) { return o.is_named("--verbose"); });
    CHECK(opens == verbose);
  }
  const weights::TemporaryFolder folder;
  const std::string model = test::make_gguf(folder.path());
  const std::vector<std::vector<std::string>> lines = {
      {"info", model},
      {"tokenize", model, "some text"},
      {"detokenize", model, "5,6"},
      {"tokenize", folder / "source/tokenizer.model", "text"},
      {"convert", model, folder / "copy.gguf"},
      {"doctor", model},
      {"run", model, "text", "-n", "0"}};
  for (std::vector<std::string> line : lines) {
    CAPTURE(line[0]);
    CHECK_FALSE(contains(run_program(line).err, "opened "));
    line.emplace_back("-v");
    if (line[0] == "convert") line.emplace_back("--force");
    CHECK(contains(run_program(line).err, "opened "));
  }
}

TEST_CASE("a device that is not there is refused before the model is opened") {
  const Outcome cuda = run_program({"run", "no-such-file", "-p", "x", "--device", "cuda:1"});
  CHECK(cuda.code == kUsage);
  CHECK(contains(cuda.err, "--device cuda:1: "));
  CHECK(contains(cuda.err, "--device cpu computes without a GPU"));
  const Outcome other = run_program({"run", "no-such-file", "-p", "x", "--device", "tpu"});
  CHECK(other.code == kUsage);
  CHECK(contains(other.err, "found 'tpu'"));
}

TEST_CASE("a precision that a device does not have is refused, never ignored") {
  const std::string model = test::id_model();
  const auto run = [&](const std::string& device, const std::string& precision) {
    return run_program(
        {"run", model, "--tokens", "1,2", "-n", "1", "--device", device, "--precision", precision});
  };
  CHECK(run("cpu", "exact").code == kOk);
  CHECK(run("cpu", "auto").code == kOk);
  const Outcome cpu = run("cpu", "fast");
  CHECK(cpu.code == kUsage);
  CHECK(contains(cpu.err, "--precision fast: only a GPU"));
  CHECK(contains(cpu.err, "--device cpu was asked for"));
  CHECK(run("cpu", "double").code == kUsage);
  const Outcome self = run_program({"selftest", "--precision", "fast"});
  CHECK(self.code == kUsage);
  CHECK(contains(self.err, "exact computation"));
}

TEST_CASE("the demo prints its prompt and a continuation, and says on stderr what it is") {
  const weights::TemporaryFolder folder;
  std::filesystem::rename(test::make_gguf(folder.path()), folder / "demo-linear.gguf");
  const test::ChildOptions options{.environment = {{"TTT_MODEL_DIR", folder.path()}}};
  const std::vector<std::string> arguments = {"demo", "-n", "20"};
  const Outcome demo = run_program(arguments, options);
  CHECK(demo.code == kOk);
  CHECK(demo.out.starts_with("It was late in the evening when the old man"));
  CHECK(demo.out.size() > 50);
  CHECK(std::ranges::count(demo.err, '\n') == 1);
  CHECK(contains(demo.err, "TTT-Linear"));
  CHECK(run_program(arguments, options).out == demo.out);
  CHECK(run_program({"demo", "-n", "20", "--seed", "2"}, options).out != demo.out);
  CHECK(run_program({"demo", "-n", "0", "-p", "Once"}, options).out == "Once\n");
}

TEST_CASE("a demo without its model says where it looked and what to set") {
  const Outcome demo = run_program({"demo"}, {.environment = {{"TTT_MODEL_DIR", "/no/such/folder"}}});
  CHECK(demo.code == kRuntimeError);
  CHECK(contains(demo.err, "/no/such/folder"));
  CHECK(contains(demo.err, "TTT_MODEL_DIR"));
}

}  // namespace
}  // namespace ttt::cli
