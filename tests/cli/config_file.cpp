// SPDX-License-Identifier: Apache-2.0
#include "cli/config_file.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "tests/cli/child.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using test::Outcome;
using test::run_program;
using weights::contains;
using weights::TemporaryFolder;

// The settings of `command` as "key=value,value@LINE", in order.
std::vector<std::string> settings_of(const std::string& text, const std::string& command) {
  const TemporaryFolder folder;
  const std::string path = folder.write("c.toml", text);
  Commands commands;
  std::vector<std::string> result;
  for (const Setting& setting : read_settings(path, commands.list(), *commands.find(command))) {
    std::string line = setting.key + "=";
    for (const std::string& value : setting.values) line += value + ",";
    result.push_back(line + "@" + setting.place.substr(path.size() + 1));
  }
  return result;
}

// A refusal without the folder of the file.
std::string refusal_of(const std::string& text, const std::string& command = "run") {
  const TemporaryFolder folder;
  const std::string path = folder.write("c.toml", text);
  Commands commands;
  try {
    read_settings(path, commands.list(), *commands.find(command));
  } catch (const UsageError& error) {
    const std::string message = error.what();
    CHECK(message.starts_with(path));
    return message.substr(folder.path().size() + 1);
  }
  return {};
}

using Settings = std::vector<std::string>;

TEST_CASE("keys at the top are for every command that has the option, a table's keys for its command") {
  const std::string text =
      "temperature = 0.5\nthreads = 2\n[run]\nmax_tokens = \"2k\"\nstop = ['a', 'b']\n"
      "[eval.ppl]\njson = true\n[\"eval logits\"]\nstate = true\n";
  CHECK(settings_of(text, "run") ==
        Settings{"temperature=0.5,@1", "threads=2,@2", "max-tokens=2k,@4", "stop=a,b,@5"});
  CHECK(settings_of(text, "eval ppl") == Settings{"threads=2,@2", "json=true,@7"});
  CHECK(settings_of(text, "eval logits") == Settings{"threads=2,@2", "state=true,@9"});
  CHECK(settings_of(text, "convert").empty());
}

TEST_CASE("a table wins over the top, wherever an alias names the command or the option") {
  CHECK(settings_of("temperature = 0.5\n[generate]\ntemp = 1\n", "run") == Settings{"temperature=1,@3"});
}

TEST_CASE("an unknown key or table is refused with the nearest name, in tables of other commands too") {
  CHECK(refusal_of("[run]\n\ntemprature = 1") ==
        "c.toml:3: ttt run has no option 'temprature'; did you mean temperature? (ttt help run)");
  CHECK(contains(refusal_of("[orchestra]\nx = 1", "convert"),
                 "c.toml:1: no command has the name of the table"));
  CHECK(contains(refusal_of("[convrt]\ntype = 'f32'"), "'convrt'; did you mean convert?"));
  CHECK(contains(refusal_of("[eval]\njson = true"), "'eval'; did you mean eval ppl?"));
  CHECK(contains(refusal_of("temprature = 1"),
                 "c.toml:1: no command has an option 'temprature'; did you mean temperature?"));
  CHECK(contains(refusal_of("[tokenize]\nfrob = 1"), "c.toml:2: ttt tokenize has no option 'frob' ("));
  CHECK(contains(refusal_of("[run]\nbos = true"), "did you mean no-bos?"));
  CHECK(contains(refusal_of("bos = true"), "did you mean no-bos?"));
  CHECK(contains(refusal_of("[run]\nctx-size = 5"), "no option 'ctx-size'"));
  CHECK(contains(refusal_of("[run]\nMODEL = 'x'"), "no option 'MODEL'"));
}

TEST_CASE("a value of another kind is refused with wanted and found, in tables of other commands too") {
  CHECK(refusal_of("[run]\ntemperature = 'hot'") ==
        "c.toml:2: temperature: wanted a number, found the string hot");
  CHECK(contains(refusal_of("[run]\njson = 1", "info"), "json: wanted true or false, found the integer 1"));
  CHECK(contains(refusal_of("threads = 1.5"), "threads: wanted an integer"));
  CHECK(contains(refusal_of("[run]\nprompt = ['a']"), "prompt: wanted a string in quotes, found a list"));
  CHECK(contains(refusal_of("[run]\nstop = true"), "wanted a list of strings, found the truth value true"));
}

TEST_CASE("a key or a table that comes twice is refused, by whichever names") {
  CHECK(contains(refusal_of("[run]\ntemp = 1\ntemperature = 1"), "c.toml:3: temperature: wanted once"));
  CHECK(contains(refusal_of("no_mmap = true\nno-mmap = true"), "the first is in line 1"));
  CHECK(contains(refusal_of("[run]\n[generate]"), "c.toml:2: wanted one table for ttt run"));
  CHECK(contains(refusal_of("[eval.ppl]\n[\"eval ppl\"]"), "the first is in line 1"));
}

TEST_CASE("what belongs to one call stands under its command only") {
  CHECK(contains(refusal_of("prompt = 'x'"), "wanted under the table of one command, [run] for instance"));
  CHECK(settings_of("[run]\nprompt = 'x'", "run") == Settings{"prompt=x,@2"});
  CHECK(settings_of("model = 'm.gguf'", "demo").empty());
}

TEST_CASE("the program takes values in order: command line, environment, configuration file, built in") {
  const TemporaryFolder folder;
  const std::string config = folder.write(
      "c.toml", "model = '~/models/m.gguf'\nthreads = 3\ntemperature = 0.5\n[run]\nmax-tokens = 7\n");
  const Outcome shown = run_program({"run", "--config", config, "--print-config", "-t", "1", "-p", "~/x"},
                                    {.environment = {{"TTT_TEMPERATURE", "0.25"}, {"HOME", "/h"}}});
  CHECK(shown.code == kOk);
  CHECK(contains(shown.out, "model = /h/models/m.gguf  (" + config + ":1)\n"));
  CHECK(contains(shown.out, "threads = 1  (command line)\n"));
  CHECK(contains(shown.out, "temperature = 0.25  (environment TTT_TEMPERATURE)\n"));
  CHECK(contains(shown.out, "max-tokens = 7  (" + config + ":5)\n"));
  CHECK(contains(shown.out, "prompt = ~/x  (command line)\n"));
  CHECK(contains(shown.out, "seed = unset  (default)\n"));
}

TEST_CASE("the usual file is found, another can be named, and none can be asked for") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "ttt");
  std::filesystem::create_directories(folder / "home/.config/ttt");
  folder.write("ttt/config.toml", "threads = 3\n");
  folder.write("home/.config/ttt/config.toml", "threads = 4\n");
  folder.write("other.toml", "threads = 5\n");
  const test::ChildOptions xdg{.environment = {{"XDG_CONFIG_HOME", folder.path()}}};
  const test::ChildOptions home{
      .environment = {{"XDG_CONFIG_HOME", ""}, {"HOME", folder / "home"}, {"TTT_THREADS", ""}}};
  const test::ChildOptions named{
      .environment = {{"XDG_CONFIG_HOME", folder.path()}, {"TTT_CONFIG", folder / "other.toml"}}};
  const auto threads = [](std::vector<std::string> arguments, test::ChildOptions options) {
    options.environment.emplace_back("TTT_THREADS", "");
    arguments.insert(arguments.begin(), {"demo", "--print-config"});
    const std::string out = run_program(arguments, options).out;
    const std::size_t place = out.find("threads = ");
    return place == std::string::npos ? "" : out.substr(place + 10, 1);
  };
  CHECK(threads({}, xdg) == "3");
  CHECK(threads({}, home) == "4");
  CHECK(threads({}, named) == "5");
  CHECK(threads({"--config=" + (folder / "other.toml")}, xdg) == "5");
  CHECK(threads({"--no-config"}, xdg) == "0");
  CHECK(threads({"--no-config"}, named) == "0");
  CHECK(threads({}, {}) == "0");
}

TEST_CASE("a file that cannot be used stops the program with the reason, but not its help") {
  const TemporaryFolder folder;
  const std::string config = folder.write("c.toml", "[run]\nmax-tokens = -7\n");
  const Outcome range = run_program({"run", "x.gguf", "--config", config});
  CHECK(range.code == kUsage);
  CHECK(contains(range.err, config + ":2: max-tokens: wanted an integer"));
  CHECK(range.out.empty());
  const Outcome missing = run_program({"run", "x.gguf", "--config", folder / "none.toml"});
  CHECK(missing.code == kRuntimeError);
  CHECK(contains(missing.err, "none.toml: No such file"));
  CHECK(contains(missing.err, "--no-config"));
  CHECK(contains(run_program({"run", "--config", folder.path()}).err, "not a regular file"));
  const std::string large = folder.write("large.toml", std::string((1 << 20) + 1, '#'));
  CHECK(contains(run_program({"run", "--config", large}).err, "at most 1048576 bytes"));
  CHECK(run_program({"run", "--config"}).code == kUsage);
  CHECK(run_program({"run", "--config", config, "--no-config"}).code == kUsage);
  CHECK(run_program({"run", "--help", "--config", config}).code == kOk);
  const test::ChildOptions broken{.environment = {{"TTT_CONFIG", folder / "none.toml"}}};
  CHECK(run_program({"help", "run"}, broken).code == kOk);
}

}  // namespace
}  // namespace ttt::cli
