// SPDX-License-Identifier: Apache-2.0
// The scripts in the shells they are for. A shell that is not installed cannot be asked.
#include "cli/completion.h"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "tests/cli/child.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using weights::contains;
using weights::TemporaryFolder;

bool has_shell(const std::string& shell) {
  const bool found = std::system(("command -v " + shell + " >/dev/null 2>&1").c_str()) == 0;
  if (!found) WARN(shell << " is not installed: its completion script was not tried in it");
  return found;
}

struct ShellResult {
  int code = 0;
  std::vector<std::string> lines;  // of stdout and stderr
  bool has(std::string_view line) const { return std::ranges::find(lines, line) != lines.end(); }
};

ShellResult run_shell(const std::string& command) {
  ShellResult result;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string text;
  std::array<char, 4096> buffer = {};
  for (std::size_t count; (count = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    text.append(buffer.data(), count);
  }
  result.code = ::pclose(pipe);
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) result.lines.push_back(line);
  return result;
}

// A folder with the scripts, some models and other files.
struct Scripts {
  TemporaryFolder folder;
  Scripts() {
    for (const char* shell : {"bash", "zsh", "fish"}) {
      folder.write(shell, test::run_program({"completion", shell}).out);
    }
    folder.write("a model.gguf", "");
    folder.write("model.gguf", "");
    folder.write("more.txt", "");
    std::filesystem::create_directory(folder / "models");
  }
  std::string in_folder(const std::string& command) const {
    return "cd '" + folder.path() + "' && " + command;
  }

  // What bash completes after these words; the last is the one to complete.
  ShellResult bash(const std::vector<std::string>& words) const {
    std::string list;
    for (const std::string& word : words) list += " \"" + word + "\"";
    const std::string script = "source ./bash\nCOMP_WORDS=(" + list +
                               ")\nCOMP_CWORD=" + std::to_string(words.size() - 1) +
                               "\n_ttt\nfor reply in \"${COMPREPLY[@]}\"; do echo \"$reply\"; done\n";
    folder.write("ask", script);
    return run_shell(in_folder("bash --norc --noprofile ./ask"));
  }
  ShellResult fish(const std::string& line) const {
    folder.write("ask", "source ./fish\ncomplete -C '" + line + "' | string replace -r '\\t.*' ''\n");
    return run_shell(in_folder("fish --no-config ./ask"));
  }
};

TEST_CASE("every script has every command and option, and no option that is only accepted") {
  const Commands commands;
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = completion_script(shell, commands.list());
    for (const Command& command : commands.list()) {
      for (const Option& option : command.options()) {
        if (option.names.empty()) continue;
        CAPTURE(shell, command.name(), option.key());
        CHECK(contains(script, option.key()) != option.ignored);
      }
    }
  }
}

TEST_CASE("a completion script needs a shell's name") {
  CHECK(test::run_program({"completion"}).code == kUsage);
  const test::Outcome other = test::run_program({"completion", "csh"});
  CHECK(other.code == kUsage);
  CHECK(contains(other.err, "SHELL: wanted one of bash, zsh, fish, found 'csh'"));
}

TEST_CASE("bash completes commands, options, choices and files") {
  if (!has_shell("bash")) return;
  const Scripts scripts;
  CHECK(scripts.bash({"ttt", "co"}).lines == std::vector<std::string>{"convert", "completion"});
  CHECK(scripts.bash({"ttt", "eval", ""}).lines == std::vector<std::string>{"ppl", "logits"});
  CHECK(scripts.bash({"ttt", "run", "--max-t"}).lines == std::vector<std::string>{"--max-tokens"});
  CHECK(scripts.bash({"ttt", "generate", "--max-t"}).lines == std::vector<std::string>{"--max-tokens"});
  CHECK(scripts.bash({"ttt", "eval", "ppl", "--tok"}).lines == std::vector<std::string>{"--tokens"});
  CHECK(scripts.bash({"ttt", "run", "--no-mm"}).lines == std::vector<std::string>{"--no-mmap"});
  const std::vector<std::string> types = {"f32", "f16", "bf16", "q8_0", "q6_k", "q4_k", "q4_0"};
  CHECK(scripts.bash({"ttt", "convert", "--type", ""}).lines == types);
  CHECK(scripts.bash({"ttt", "convert", "--type", "="}).lines == types);
  CHECK(scripts.bash({"ttt", "convert", "--type", "=", "b"}).lines == std::vector<std::string>{"bf16"});
  CHECK(scripts.bash({"ttt", "completion", "z"}).lines == std::vector<std::string>{"zsh"});
  CHECK(scripts.bash({"ttt", "run", "--seed", ""}).lines.empty());
  CHECK(scripts.bash({"ttt", "nonsense", "--x"}).lines.empty());
}

TEST_CASE("bash completes models by name and folder, files of any name elsewhere") {
  if (!has_shell("bash")) return;
  const Scripts scripts;
  CHECK(scripts.bash({"ttt", "run", "mo"}).lines == std::vector<std::string>{"models", "model.gguf"});
  CHECK(scripts.bash({"ttt", "info", "-m", "a"}).lines == std::vector<std::string>{"a model.gguf"});
  const ShellResult files = scripts.bash({"ttt", "run", "-f", "mo"});
  CHECK((files.has("more.txt") && files.has("model.gguf") && files.has("models")));
  CHECK(scripts.bash({"ttt", "run", "--config", "mor"}).lines == std::vector<std::string>{"more.txt"});
}

TEST_CASE("zsh accepts its script") {
  if (!has_shell("zsh")) return;
  const Scripts scripts;
  const ShellResult result = run_shell(scripts.in_folder("zsh -f -n ./zsh"));
  CHECK(result.code == 0);
  CHECK(result.lines.empty());
}

TEST_CASE("fish accepts its script and completes by it") {
  if (!has_shell("fish")) return;
  const Scripts scripts;
  CHECK(run_shell(scripts.in_folder("fish --no-config -n ./fish")).lines.empty());
  CHECK(scripts.fish("ttt co").lines == std::vector<std::string>{"completion", "convert"});
  CHECK(scripts.fish("ttt eval ").lines == std::vector<std::string>{"logits", "ppl"});
  CHECK(scripts.fish("ttt eval ppl --toke").lines == std::vector<std::string>{"--tokens"});
  CHECK(scripts.fish("ttt convert --type b").lines == std::vector<std::string>{"bf16"});
  CHECK(scripts.fish("ttt run model").has("model.gguf"));
  CHECK(scripts.fish("ttt run model").has("models/"));
  CHECK_FALSE(scripts.fish("ttt run more").has("more.txt"));
  CHECK(scripts.fish("ttt run -f more").has("more.txt"));
}

}  // namespace
}  // namespace ttt::cli
