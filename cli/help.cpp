// SPDX-License-Identifier: Apache-2.0
#include "cli/help.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "cli/exit_code.h"
#include "cli/parse_value.h"
#include "cli/standard_streams.h"

namespace ttt::cli {
namespace {

constexpr std::size_t kTextColumn = 32;
constexpr std::size_t kLineWidth = 100;

// `text` in lines of at most kLineWidth, the first of which continues a line that is `begin` characters long.
std::string wrap(std::string_view text, std::size_t begin, std::size_t indent) {
  std::string result;
  std::size_t column = begin;
  bool first_word = true;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    if (!first_word && column + 1 + word.size() > kLineWidth) {
      result += fmt::format("\n{:{}}", "", indent);
      column = indent;
      first_word = true;
    }
    if (!first_word) {
      result.push_back(' ');
      ++column;
    }
    result += word;
    column += word.size();
    first_word = false;
  }
  return result;
}

std::string option_text(const Option& option) {
  std::string help = option.help;
  if (!option.default_text.empty()) help += fmt::format(" (default {})", option.default_text);
  if (option.repeatable) help += " (may be repeated)";
  if (!option.environment.empty()) help += fmt::format(" [{}]", option.environment);
  std::string line = fmt::format("  {}", option_heading(option));
  if (line.size() + 2 > kTextColumn) {
    line += fmt::format("\n{:{}}", "", kTextColumn);
  } else {
    line.resize(kTextColumn, ' ');
  }
  return line + wrap(help, kTextColumn, kTextColumn) + "\n";
}

// Lower case without dashes and underscores.
std::string folded(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c != '-' && c != '_')
      result.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  }
  return result;
}

}  // namespace

std::string option_heading(const Option& option) {
  if (option.names.empty()) return option.positional;
  std::string joined = fmt::format("{}", fmt::join(option.names, ", "));
  return option.is_flag() || option.ignored ? joined : fmt::format("{} {}", joined, option.placeholder);
}

std::string overview_text(std::span<const Command> commands) {
  std::string text =
      "ttt runs TTT language models (TTT-Linear and TTT-MLP): the hidden state is a small model that learns\n"
      "while it reads, so that a token costs the same however long the context is.\n\n"
      "usage: ttt COMMAND [options]\n\n";
  for (const Command& command : commands) {
    text += fmt::format("  {:<14}{}\n", command.name(), command.summary());
  }
  return text +
         "\nttt help COMMAND tells its options; ttt help WORD searches all of them. The first minute: ttt "
         "demo\n";
}

std::string help_text(const Command& command) {
  std::string text = fmt::format("usage: ttt {} {}\n", command.name(), command.synopsis());
  if (!command.aliases().empty())
    text += fmt::format("also:  ttt {}\n", fmt::join(command.aliases(), ", ttt "));
  text += fmt::format("\n{}\n\n", wrap(command.description(), 0, 0));
  for (const Option& option : command.options()) text += option_text(option);
  text +=
      "  -h, --help                    this text; --help=WORD searches all options\n"
      "  --print-config                print every value and where it comes from, and stop\n"
      "  --config FILE, --no-config    read this configuration file, or none [TTT_CONFIG]\n"
      "A flag has an opposite that begins with --no-; integers understand 2k and 32K.\n";
  if (!command.examples().empty()) text += "\nexamples:\n";
  for (const Command::Example& example : command.examples()) {
    text += fmt::format("  {}\n      {}\n", example.line, example.meaning);
  }
  return text;
}

std::string search_text(std::span<const Command> commands, std::string_view word) {
  const std::string wanted = folded(word);
  std::string text;
  for (const Command& command : commands) {
    const bool is_command =
        folded(command.name() + " " + command.summary()).find(wanted) != std::string::npos;
    std::string found;
    for (const Option& option : command.options()) {
      if (folded(option_heading(option) + " " + option.help).find(wanted) != std::string::npos) {
        found += option_text(option);
      }
    }
    if (is_command || !found.empty()) {
      text += fmt::format("ttt {}: {}\n{}", command.name(), command.summary(), found);
    }
  }
  return text;
}

int help(std::span<const Command> commands, const HelpOptions& options) {
  if (options.topic.empty()) {
    write_stdout(overview_text(commands));
    return kOk;
  }
  const std::string topic = options.topic + (options.topic_rest.empty() ? "" : " " + options.topic_rest);
  const auto command = std::ranges::find_if(commands, [&](const Command& c) { return c.is_named(topic); });
  if (command != commands.end()) {
    write_stdout(help_text(*command));
    return kOk;
  }
  const std::string found = search_text(commands, topic);
  if (found.empty()) {
    std::vector<std::string> names;
    for (const Command& c : commands) names.push_back(c.name());
    const auto meant = nearest(topic, names);
    throw UsageError(fmt::format("no command and no option mentions '{}'{}", topic,
                                 meant ? fmt::format("; did you mean {}?", *meant) : ""));
  }
  write_stdout(found);
  return kOk;
}

}  // namespace ttt::cli
