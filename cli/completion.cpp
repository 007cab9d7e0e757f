// SPDX-License-Identifier: Apache-2.0
#include "cli/completion.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "cli/exit_code.h"
#include "cli/standard_streams.h"

namespace ttt::cli {
namespace {

// What the options of every command are called, beside its own.
struct CommonOption {
  std::string_view name;
  std::string_view help;
};
constexpr CommonOption kCommonFlags[] = {{"--help", "the options of the command"},
                                         {"--print-config", "print every value and where it comes from"},
                                         {"--no-config", "read no configuration file"}};
constexpr CommonOption kConfig = {"--config", "read this configuration file"};

std::vector<std::string> names_of(const Command& command) {
  std::vector<std::string> names = {command.name()};
  names.insert(names.end(), command.aliases().begin(), command.aliases().end());
  return names;
}

std::string first_word(const std::string& name) { return name.substr(0, name.find(' ')); }

bool has_two_words(const std::string& name) { return name.find(' ') != std::string::npos; }

// First words of all commands and aliases, each once.
std::vector<std::string> first_words(std::span<const Command> commands) {
  std::vector<std::string> words;
  for (const Command& command : commands) {
    for (const std::string& name : names_of(command)) {
      if (std::ranges::find(words, first_word(name)) == words.end()) words.push_back(first_word(name));
    }
  }
  return words;
}

// Second words of the commands that begin with `first`.
std::vector<std::string> second_words(std::span<const Command> commands, const std::string& first) {
  std::vector<std::string> words;
  for (const Command& command : commands) {
    if (command.name().starts_with(first + " ")) words.push_back(command.name().substr(first.size() + 1));
  }
  return words;
}

// The positional that completion offers values for; null if there is none.
const Option* positional(const Command& command) {
  const auto it = std::ranges::find_if(command.options(), [](const Option& option) {
    return !option.positional.empty() && (option.names_model() || !option.suggestions.empty());
  });
  return it == command.options().end() ? nullptr : &*it;
}

// A word in single quotes, for bash and zsh.
std::string shell_quoted(std::string_view text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

struct NextWord {
  std::string word;
  std::string summary;
};

// The words that may follow `first` (the program itself where it is empty), each once.
std::vector<NextWord> next_words(std::span<const Command> commands, const std::string& first) {
  std::vector<NextWord> words;
  for (const Command& command : commands) {
    for (const std::string& name : names_of(command)) {
      const std::string word = first.empty()                   ? first_word(name)
                               : name.starts_with(first + " ") ? name.substr(first.size() + 1)
                                                               : std::string();
      if (word.empty() || std::ranges::find(words, word, &NextWord::word) != words.end()) continue;
      words.push_back({word, first.empty() && has_two_words(name) ? "several commands" : command.summary()});
    }
  }
  return words;
}

namespace bash {

// The command that completes the value of an option, with the word so far in $word.
std::string value_action(const Option& option) {
  if (!option.suggestions.empty()) return fmt::format("_ttt_words '{}'", fmt::join(option.suggestions, " "));
  if (option.names_model()) return "_ttt_models";
  if (option.names_file()) return "_ttt_files";
  return ":";
}

std::string command_case(const Command& command) {
  std::string values;
  std::vector<std::string> offered;
  for (const Option& option : command.options()) {
    if (option.ignored || option.names.empty()) continue;
    offered.insert(offered.end(), option.names.begin(), option.names.end());
    if (option.is_flag()) {
      offered.push_back(option.opposite());
    } else {
      values +=
          fmt::format("        {}) {}; return ;;\n", fmt::join(option.names, "|"), value_action(option));
    }
  }
  for (const CommonOption& common : kCommonFlags) offered.emplace_back(common.name);
  offered.emplace_back(kConfig.name);
  values += fmt::format("        {}) _ttt_files; return ;;\n", kConfig.name);
  std::vector<std::string> patterns;
  for (const std::string& name : names_of(command)) patterns.push_back(shell_quoted(name));
  const Option* argument = positional(command);
  return fmt::format(
      "    {})\n      case $before in\n{}      esac\n      if [[ $word == -* ]]; then\n        _ttt_words "
      "'{}'\n"
      "      else\n        {}\n      fi\n      ;;\n",
      fmt::join(patterns, "|"), values, fmt::join(offered, " "),
      argument == nullptr ? ":" : value_action(*argument));
}

std::string script(std::span<const Command> commands) {
  std::string text = R"(# bash completion for ttt. Load it: source <(ttt completion bash)
_ttt_words() {
  COMPREPLY=($(compgen -W "$1" -- "$word"))
}
_ttt_files() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -f -- "$word")
}
_ttt_models() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -d -- "$word"; compgen -f -X '!*.gguf' -- "$word")
}
_ttt() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}
  COMPREPLY=()
  if [[ $word == = ]]; then  # --type=f arrives as three words
    word=
  elif [[ $before == = && COMP_CWORD -gt 2 ]]; then
    before=${COMP_WORDS[COMP_CWORD-2]}
  fi
  if [[ COMP_CWORD -eq 1 ]]; then
)";
  text += fmt::format("    _ttt_words '{} --help --version'\n    return\n  fi\n  case $command in\n",
                      fmt::join(first_words(commands), " "));
  for (const std::string& first : first_words(commands)) {
    const std::vector<std::string> second = second_words(commands, first);
    if (second.empty()) continue;
    text += fmt::format(
        "    {}) if [[ COMP_CWORD -eq 2 ]]; then _ttt_words '{}'; return; fi\n"
        "      command+=\" ${{COMP_WORDS[2]}}\" ;;\n",
        shell_quoted(first), fmt::join(second, " "));
  }
  text += "  esac\n  case $command in\n";
  for (const Command& command : commands) text += command_case(command);
  return text + "  esac\n}\ncomplete -F _ttt ttt\n";
}

}  // namespace bash

namespace zsh {

// What _arguments takes for help texts and messages.
std::string escaped_help(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') result.push_back('\\');
    result.push_back(c);
  }
  return result;
}

std::string value_action(const Option& option) {
  if (!option.suggestions.empty()) return fmt::format("({})", fmt::join(option.suggestions, " "));
  if (option.names_model()) return "_files -g \"*.gguf(-.)\"";
  if (option.names_file()) return "_files";
  return " ";
}

// One argument of _arguments for each name; an option that is given excludes its other names.
std::string option_specs(const Option& option) {
  std::string specs;
  for (const std::string& name : option.names) {
    const std::string exclusion = option.repeatable ? "*" : fmt::format("({})", fmt::join(option.names, " "));
    const std::string equals = option.is_flag() || !name.starts_with("--") ? "" : "=";
    std::string spec = fmt::format("{}{}{}[{}]", exclusion, name, equals, escaped_help(option.help));
    if (!option.is_flag()) {
      spec += fmt::format(":{}:{}", escaped_help(option.placeholder), value_action(option));
    }
    specs += fmt::format("        {} \\\n", shell_quoted(spec));
  }
  return specs;
}

std::string command_case(const Command& command) {
  std::string specs;
  for (const Option& option : command.options()) {
    if (!option.ignored) specs += option_specs(option);
  }
  for (const CommonOption& common : kCommonFlags) {
    specs += fmt::format("        {} \\\n", shell_quoted(fmt::format("{}[{}]", common.name, common.help)));
  }
  specs += fmt::format("        {} \\\n",
                       shell_quoted(fmt::format("{}=[{}]:FILE:_files", kConfig.name, kConfig.help)));
  std::vector<std::string> patterns;
  for (const std::string& name : names_of(command)) patterns.push_back(shell_quoted(name));
  const Option* argument = positional(command);
  specs +=
      fmt::format("        {}", argument == nullptr
                                    ? shell_quoted("*:argument: ")
                                    : shell_quoted(fmt::format("*:{}:{}", escaped_help(argument->positional),
                                                               value_action(*argument))));
  return fmt::format("    {})\n      _arguments -s -S \\\n{}\n      ;;\n", fmt::join(patterns, "|"), specs);
}

std::string described(std::string_view word, std::string_view summary) {
  return fmt::format("    {}\n", shell_quoted(fmt::format("{}:{}", word, escaped_help(summary))));
}

// A list for _describe.
std::string describe_list(std::span<const Command> commands, const std::string& first) {
  std::string list;
  for (const auto& [word, summary] : next_words(commands, first)) list += described(word, summary);
  return list;
}

std::string script(std::span<const Command> commands) {
  std::string text = fmt::format(
      "#compdef ttt\n"
      "# zsh completion for ttt. Save it as _ttt in a folder of $fpath, or load it: source <(ttt completion "
      "zsh)\n"
      "_ttt() {{\n  local -a words_of_command=(\n{}  )\n"
      "  if (( CURRENT == 2 )); then\n    _describe -t commands command words_of_command\n    return\n  fi\n"
      "  local command=${{words[2]}}\n  case $command in\n",
      describe_list(commands, ""));
  for (const std::string& first : first_words(commands)) {
    if (second_words(commands, first).empty()) continue;
    text += fmt::format(
        "    {})\n      if (( CURRENT == 3 )); then\n        words_of_command=(\n{}        )\n"
        "        _describe -t commands command words_of_command\n        return\n      fi\n"
        "      command+=\" ${{words[3]}}\"\n      shift words\n      (( CURRENT-- ))\n      ;;\n",
        shell_quoted(first), describe_list(commands, first));
  }
  text += "  esac\n  shift words\n  (( CURRENT-- ))\n  case $command in\n";
  for (const Command& command : commands) text += command_case(command);
  return text +
         "  esac\n}\n"
         "# As a file of $fpath it is run as the function; sourced, it is registered.\n"
         "if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then\n  _ttt \"$@\"\nelse\n  compdef _ttt "
         "ttt\nfi\n";
}

}  // namespace zsh

namespace fish {

// fish's single quotes know \' and \\ only.
std::string fish_quoted(std::string_view text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') result.push_back('\\');
    result.push_back(c);
  }
  return result + "'";
}

std::string name_flags(const Option& option) {
  std::string flags;
  for (const std::string& name : option.names) {
    const bool is_long = name.starts_with("--");
    flags += fmt::format(" -{} {}",
                         is_long            ? "l"
                         : name.size() == 2 ? "s"
                                            : "o",
                         name.substr(is_long ? 2 : 1));
  }
  return flags;
}

std::string value_flags(const Option& option) {
  if (!option.suggestions.empty()) {
    return fmt::format(" -x -a {}", fish_quoted(fmt::format("{}", fmt::join(option.suggestions, " "))));
  }
  if (option.names_model()) return " -x -a '(__ttt_models)'";
  if (option.names_file()) return " -r -F";
  return " -x";
}

std::string command_lines(const Command& command) {
  std::vector<std::string> names;
  for (const std::string& name : names_of(command)) names.push_back(fmt::format("\"{}\"", name));
  const std::string begin = fmt::format("complete -c ttt -n '__ttt_is {}'", fmt::join(names, " "));
  std::string text;
  for (const Option& option : command.options()) {
    if (option.ignored || option.names.empty()) continue;
    text += fmt::format("{}{}{} -d {}\n", begin, name_flags(option),
                        option.is_flag() ? "" : value_flags(option), fish_quoted(option.help));
  }
  if (const Option* argument = positional(command)) {
    text += begin + value_flags(*argument) + "\n";
  }
  return text;
}

std::string word_lines(std::span<const Command> commands, const std::string& first) {
  std::string text;
  for (const auto& [word, summary] : next_words(commands, first)) {
    text += fmt::format("complete -c ttt -n '__ttt_words_are {}' -a {} -d {}\n",
                        first.empty() ? "" : fmt::format("\"{}\"", first), word, fish_quoted(summary));
  }
  return text;
}

std::string script(std::span<const Command> commands) {
  std::string text = R"(# fish completion for ttt. Load it: ttt completion fish | source
function __ttt_words_are # the words so far, the program aside, are these
    set -l words (commandline -opc)
    test "$words[2..-1]" = "$argv"
end
function __ttt_is # the command is one of these names, each of one word or two
    set -l words (commandline -opc)
    for name in $argv
        set -l count (count (string split ' ' -- $name))
        set -l last (math $count + 1)
        test (count $words) -ge $last; or continue
        test "$words[2..$last]" = "$name"; and return 0
    end
    return 1
end
function __ttt_models # files that end in .gguf, and folders
    __fish_complete_suffix .gguf | string match -r '^.*(?:/|[.]gguf)(?:\t.*)?$'
end
complete -c ttt -f
)";
  for (const CommonOption& common : kCommonFlags) {
    text += fmt::format("complete -c ttt -l {} -d {}\n", common.name.substr(2), fish_quoted(common.help));
  }
  text +=
      fmt::format("complete -c ttt -l {} -r -F -d {}\n", kConfig.name.substr(2), fish_quoted(kConfig.help));
  text += word_lines(commands, "");
  for (const std::string& first : first_words(commands)) text += word_lines(commands, first);
  for (const Command& command : commands) text += command_lines(command);
  return text;
}

}  // namespace fish
}  // namespace

std::string completion_script(std::string_view shell, std::span<const Command> commands) {
  if (shell == "bash") return bash::script(commands);
  if (shell == "zsh") return zsh::script(commands);
  return fish::script(commands);
}

int completion(std::span<const Command> commands, const CompletionOptions& options) {
  if (options.shell.empty()) throw UsageError("name a shell: ttt completion bash, zsh or fish");
  write_stdout(completion_script(options.shell, commands));
  return kOk;
}

}  // namespace ttt::cli
