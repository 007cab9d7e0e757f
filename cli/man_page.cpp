// SPDX-License-Identifier: Apache-2.0
#include "cli/man_page.h"

#include <fmt/format.h>

#include <string_view>

#include "cli/build_info.h"
#include "cli/help.h"

namespace ttt::cli {
namespace {

// Text as roff prints it literally.
std::string roff(std::string_view text) {
  std::string result;
  if (text.starts_with('.') || text.starts_with('\'')) result += "\\&";
  for (const char c : text) {
    switch (c) {
      case '\\':
        result += "\\e";
        break;
      case '-':
        result += "\\-";
        break;
      case '\'':
        result += "\\(aq";
        break;
      default:
        result.push_back(c);
    }
  }
  return result;
}

std::string option_entry(const Option& option) {
  std::string text = fmt::format(".TP\n.B {}\n{}.", roff(option_heading(option)), roff(option.help));
  if (option.repeatable) text += " May be repeated.";
  if (!option.default_text.empty()) text += fmt::format(" Default: {}.", roff(option.default_text));
  if (!option.environment.empty()) text += fmt::format(" Environment: {}.", roff(option.environment));
  return text + "\n";
}

std::string command_section(const Command& command) {
  std::string text = fmt::format(".SS ttt {}\n.B ttt {} {}\n.PP\n{}\n", roff(command.name()),
                                 roff(command.name()), roff(command.synopsis()), roff(command.description()));
  if (!command.aliases().empty()) {
    text +=
        fmt::format(".PP\nAlso: {}.\n", roff(fmt::format("ttt {}", fmt::join(command.aliases(), ", ttt "))));
  }
  for (const Option& option : command.options()) text += option_entry(option);
  return text;
}

std::string examples(std::span<const Command> commands) {
  std::string text = ".SH EXAMPLES\n";
  for (const Command& command : commands) {
    for (const Command::Example& example : command.examples()) {
      text += fmt::format(".TP\n.B {}\n{}\n", roff(example.line), roff(example.meaning));
    }
  }
  return text;
}

constexpr std::string_view kCommonSections = R"(.SH COMMON OPTIONS
.TP
.B \-h, \-\-help
The options of a command. \-\-help=WORD searches all options.
.TP
.B \-\-print\-config
Prints every effective value and where it comes from, and stops.
.TP
.B \-\-config FILE
Reads this configuration file instead of the usual one. Environment: TTT_CONFIG.
.TP
.B \-\-no\-config
Reads no configuration file.
.TP
.B \-\-version
What this program is.
.PP
Integers may end in k, m, g (powers of 1000) or K, M, G (powers of 1024). \-\-flag value and \-\-flag=value mean
the same. A flag has an opposite: \-\-no\-json, and \-\-bos for \-\-no\-bos. The command line wins over the
environment, that over the configuration file. Results go to standard output, everything else to standard error.
)";

constexpr std::string_view kExitStatus = R"(.SH EXIT STATUS
.TP
.B 0
Success, also when the reader of standard output went away.
.TP
.B 1
A run\-time error: a file cannot be read or written, a disk is full.
.TP
.B 2
The command line, a variable or the configuration file is wrong.
.TP
.B 3
The model file cannot be used, or it changed while in use.
.TP
.B 4
Out of memory.
.TP
.B 6
The GPU failed and is of no use to this process; another run may do.
.TP
.B 130
Interrupted by Ctrl\-C; the text so far was written. Other signals: 128 and the signal's number.
.SH FILES
.TP
.B ~/.config/ttt/config.toml
(under
.B XDG_CONFIG_HOME
where that is set) holds values for options: lines
.B key = value
where the key is the name of the option without dashes, first those of every command, then under
.B [run]
or
.B [eval.ppl]
those of one command. A small part of TOML: strings in quotes, numbers, true, false, lists of strings, comments.
.SH ENVIRONMENT
Each option names its variable above.
.TP
.B TTT_MODEL_DIR
The folder of the bundled models that
.B ttt demo
runs.
)";

}  // namespace

std::string man_page(std::span<const Command> commands) {
  std::string text = fmt::format(
      ".TH TTT 1 \"\" \"ttt {}\" \"User Commands\"\n"
      ".SH NAME\nttt \\- run TTT language models\n"
      ".SH SYNOPSIS\n.B ttt\n.I COMMAND\n[options]\n"
      ".SH DESCRIPTION\nRuns language models whose hidden state is itself a small model that learns while it "
      "reads "
      "(TTT\\-Linear, TTT\\-MLP). A token costs the same however long the context is.\n"
      ".SH COMMANDS\n",
      roff(build_info().version));
  for (const Command& command : commands) text += command_section(command);
  text += kCommonSections;
  text += kExitStatus;
  return text + examples(commands);
}

}  // namespace ttt::cli
