// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <utility>

#include "cli/exit_code.h"
#include "cli/parse_value.h"

namespace ttt::cli {
namespace {

std::vector<std::string> split_names(std::string_view names) {
  std::vector<std::string> parts;
  while (!names.empty()) {
    const std::size_t comma = std::min(names.find(','), names.size());
    parts.emplace_back(names.substr(0, comma));
    names.remove_prefix(std::min(comma + 1, names.size()));
  }
  return parts;
}

std::string environment_name(const std::string& key) {
  std::string name = "TTT_";
  for (const char c : key) {
    name.push_back(c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
  }
  return name;
}

[[noreturn]] void refuse_value(const std::string& wanted, const std::string& found) {
  throw UsageError(fmt::format("wanted {}, found '{}'", wanted, found));
}

std::int64_t integer_in(const std::string& text, Command::Range range) {
  const auto value = parse_integer(text);
  if (value && *value >= range.min && *value <= range.max) return *value;
  const std::string bound = range.max == std::numeric_limits<std::int64_t>::max()
                                ? fmt::format("of at least {}", range.min)
                                : fmt::format("from {} to {}", range.min, range.max);
  refuse_value(fmt::format("an integer {} (2k and 32K are understood)", bound), text);
}

// "-np": CLI11 knows no short options of several letters; they are rewritten before it sees them.
bool is_long_short(std::string_view name) {
  return name.size() > 2 && name.starts_with('-') && !name.starts_with("--");
}

// CLI11's spelling of an option's names.
std::string cli11_names(const Option& option) {
  std::vector<std::string> names;
  std::ranges::remove_copy_if(option.names, std::back_inserter(names), is_long_short);
  if (option.is_flag()) names.push_back("!" + option.opposite());
  if (!option.positional.empty()) names.push_back(option.positional);
  return fmt::format("{}", fmt::join(names, ","));
}

struct CutArguments {
  std::vector<std::vector<std::string>> values;  // by option; empty where it was not given
  std::vector<std::string> unknown;
};

CutArguments cut_arguments(const std::vector<Option>& options, std::vector<std::string> arguments) {
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  std::vector<CLI::Option*> handles;  // by option; null for ignored ones
  for (const Option& option : options) {
    CLI::Option* handle = nullptr;
    if (option.is_flag()) {
      handle = app.add_flag(cli11_names(option));
    } else if (!option.ignored) {
      handle = app.add_option(cli11_names(option));
      handle->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    }
    if (option.repeatable) {
      handle->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
      handle->expected(1, CLI::detail::expected_max_vector_size)->allow_extra_args(option.names.empty());
    }
    handles.push_back(handle);
  }
  std::ranges::reverse(arguments);  // CLI11 takes them from the end
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    throw UsageError(error.what());
  }
  CutArguments cut;
  cut.unknown = app.remaining();
  std::erase(cut.unknown, "--");  // which CLI11 leaves there
  for (const CLI::Option* handle : handles) {
    cut.values.push_back(handle == nullptr ? std::vector<std::string>() : handle->results());
  }
  return cut;
}

// The command line's values, else the environment's, else the configuration file's.
void take_value(Option& option, const std::vector<std::string>& from_command_line,
                const std::vector<Setting>& settings) {
  const char* variable = option.environment.empty() ? nullptr : std::getenv(option.environment.c_str());
  const auto setting = std::ranges::find(settings, option.key(), &Setting::key);
  std::string name = option.names.empty() ? option.positional : "--" + option.key();
  if (!from_command_line.empty()) {
    option.source = Option::Source::kCommandLine;
    option.given = from_command_line;
  } else if (variable != nullptr && *variable != '\0') {
    option.source = Option::Source::kEnvironment;
    option.given = {variable};
    name = option.environment;
  } else if (!option.names.empty() && setting != settings.end()) {
    option.source = Option::Source::kConfig;
    option.given = setting->values;
    option.config_place = setting->place;
    name = fmt::format("{}: {}", setting->place, option.key());
  }
  for (const std::string& value : option.given) {
    try {
      option.assign(value);
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("{}: {}", name, error.what()));
    }
  }
}

std::string source_text(const Option& option) {
  switch (option.source) {
    case Option::Source::kCommandLine:
      return "command line";
    case Option::Source::kEnvironment:
      return "environment " + option.environment;
    case Option::Source::kConfig:
      return option.config_place;
    case Option::Source::kDefault:
      break;
  }
  return "default";
}

}  // namespace

std::string Option::key() const {
  for (const std::string& name : names) {
    if (name.starts_with("--")) return name.substr(2);
  }
  return positional;
}

bool Option::is_named(std::string_view name) const {
  return std::ranges::any_of(names, [&](const std::string& candidate) {
    if (!candidate.ends_with('*')) return name == candidate;
    return name.starts_with(std::string_view(candidate).substr(0, candidate.size() - 1));
  });
}

std::string Option::opposite() const {
  return key().starts_with("no-") ? "--" + key().substr(3) : "--no-" + key();
}

Command::Command(std::string name, std::string synopsis, std::string summary, std::string description,
                 std::function<int()> action)
    : name_(std::move(name)),
      synopsis_(std::move(synopsis)),
      summary_(std::move(summary)),
      description_(std::move(description)),
      action_(std::move(action)) {}

Option& Command::add(std::string_view names, std::string placeholder, std::string help,
                     std::string default_text) {
  Option option;
  for (std::string& name : split_names(names)) {
    if (name.starts_with('-')) {
      option.names.push_back(std::move(name));
    } else {
      option.positional = std::move(name);
    }
  }
  option.placeholder = std::move(placeholder);
  option.help = std::move(help);
  option.default_text = std::move(default_text);
  if (!option.names.empty()) option.environment = environment_name(option.key());
  options_.push_back(std::move(option));
  return options_.back();
}

Option& Command::text(std::string_view names, std::string& target, std::string placeholder,
                      std::string help) {
  Option& option = add(names, std::move(placeholder), std::move(help), target);
  option.assign = [&target](const std::string& value) { target = value; };
  return option;
}

Option& Command::optional_text(std::string_view names, std::optional<std::string>& target,
                               std::string placeholder, std::string help) {
  Option& option = add(names, std::move(placeholder), std::move(help), {});
  option.assign = [&target](const std::string& value) { target = value; };
  return option;
}

Option& Command::list(std::string_view names, std::vector<std::string>& target, std::string placeholder,
                      std::string help) {
  Option& option = add(names, std::move(placeholder), std::move(help), {});
  option.kind = Option::Kind::kList;
  option.repeatable = true;
  option.assign = [&target](const std::string& value) { target.push_back(value); };
  return option;
}

Option& Command::choice(std::string_view names, std::string& target, std::vector<std::string> choices,
                        std::string help) {
  Option& option = add(names, fmt::format("{}", fmt::join(choices, "|")), std::move(help), target);
  option.kind = Option::Kind::kChoice;
  option.suggestions = choices;
  option.assign = [&target, choices = std::move(choices)](const std::string& value) {
    if (std::ranges::find(choices, value) == choices.end()) {
      refuse_value(fmt::format("one of {}", fmt::join(choices, ", ")), value);
    }
    target = value;
  };
  return option;
}

Option& Command::integer(std::string_view names, std::int64_t& target, Range range, std::string placeholder,
                         std::string help) {
  Option& option = add(names, std::move(placeholder), std::move(help), fmt::format("{}", target));
  option.kind = Option::Kind::kInteger;
  option.assign = [&target, range](const std::string& value) { target = integer_in(value, range); };
  return option;
}

Option& Command::optional_integer(std::string_view names, std::optional<std::int64_t>& target, Range range,
                                  std::string placeholder, std::string help) {
  Option& option = add(names, std::move(placeholder), std::move(help), {});
  option.kind = Option::Kind::kInteger;
  option.assign = [&target, range](const std::string& value) { target = integer_in(value, range); };
  return option;
}

Option& Command::number(std::string_view names, double& target, double min, double max,
                        std::string placeholder, std::string help) {
  Option& option = add(names, std::move(placeholder), std::move(help), fmt::format("{}", target));
  option.kind = Option::Kind::kNumber;
  option.assign = [&target, min, max](const std::string& text) {
    const auto value = parse_number(text);
    if (!value || *value < min || *value > max) {
      refuse_value(fmt::format("a number from {} to {}", min, max), text);
    }
    target = *value;
  };
  return option;
}

Option& Command::flag(std::string_view names, bool& target, std::string help) {
  Option& option = add(names, {}, std::move(help), {});
  option.kind = Option::Kind::kFlag;
  option.assign = [&target](const std::string& text) {
    const auto value = parse_bool(text);
    if (!value) refuse_value("true or false", text);
    target = *value;
  };
  return option;
}

void Command::ignore(std::string_view names, std::string help, std::vector<std::string> values) {
  Option& option = add(names, "VALUE", std::move(help), {});
  option.environment.clear();
  option.ignored = true;
  option.ignored_values = std::move(values);
}

Command& Command::alias(std::string name) {
  aliases_.push_back(std::move(name));
  return *this;
}

Command& Command::example(std::string line, std::string meaning) {
  examples_.push_back({std::move(line), std::move(meaning)});
  return *this;
}

bool Command::is_named(std::string_view name) const {
  return name_ == name || std::ranges::find(aliases_, name) != aliases_.end();
}

Option* Command::find_option(std::string_view name) {
  const auto it = std::ranges::find_if(options_, [&](const Option& option) { return option.is_named(name); });
  return it == options_.end() ? nullptr : &*it;
}

void Command::take_config(std::span<const std::string> arguments, std::size_t& i) {
  const std::size_t equals = arguments[i].find('=');
  if (equals == std::string::npos && i + 1 == arguments.size()) {
    throw UsageError("--config needs a value: --config FILE");
  }
  config_ = equals == std::string::npos ? arguments[++i] : arguments[i].substr(equals + 1);
  if (config_->empty()) throw UsageError("--config: wanted a file, found ''; --no-config reads none");
}

// Records an ignored option; true if the next argument is its value.
bool Command::skip_ignored(Option& option, std::string_view argument, std::span<const std::string> rest) {
  const std::size_t equals = argument.find('=');
  option.source = Option::Source::kCommandLine;
  option.given.emplace_back(argument.substr(0, equals));
  if (equals != std::string_view::npos || rest.empty()) return false;
  const auto& values = option.ignored_values;
  return values.empty() || std::ranges::find(values, rest.front()) != values.end();
}

std::vector<std::string> Command::rewrite(std::span<const std::string> arguments) {
  std::vector<std::string> result;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") {
      result.insert(result.end(), arguments.begin() + static_cast<std::ptrdiff_t>(i), arguments.end());
      break;
    }
    const std::size_t equals = argument.starts_with("--") ? argument.find('=') : std::string::npos;
    const std::string name = argument.substr(0, equals);
    Option* option = name.starts_with('-') ? find_option(name) : nullptr;
    if (option != nullptr && option->ignored) {
      if (skip_ignored(*option, argument, arguments.subspan(i + 1))) ++i;
      continue;
    }
    if (argument == "-h" || name == "--help") {
      help_wanted_ = equals == std::string::npos ? "" : argument.substr(equals + 1);
      continue;
    }
    if (argument == "--print-config") {
      print_config_wanted_ = true;
      continue;
    }
    if (argument == "--no-config") {
      no_config_ = true;
      continue;
    }
    if (name == "--config") {
      take_config(arguments, i);
      continue;
    }
    if (option == nullptr || option->is_flag()) {
      result.push_back(argument);
      continue;
    }
    // A value is the next argument whatever it looks like; CLI11 would take "--prompt=" for one without.
    result.push_back(is_long_short(name) ? "--" + option->key() : name);
    if (equals != std::string::npos) {
      result.push_back(argument.substr(equals + 1));
    } else if (i + 1 < arguments.size()) {
      result.push_back(arguments[++i]);
    } else {
      throw UsageError(fmt::format("{} needs a value: {} {}", name, name, option->placeholder));
    }
  }
  return result;
}

void Command::refuse_unknown(const std::string& argument) const {
  if (!argument.starts_with('-') || argument == "-") {
    throw UsageError(fmt::format("unexpected argument '{}'; quote a text that has spaces", argument));
  }
  std::vector<std::string> names = {"--help", "--print-config", "--config", "--no-config"};
  for (const Option& option : options_) {
    std::ranges::copy_if(option.names, std::back_inserter(names),
                         [](const auto& n) { return n.starts_with("--"); });
    if (option.is_flag()) names.push_back(option.opposite());
  }
  const std::string name = argument.substr(0, argument.find('='));
  const auto meant = nearest(name, names);
  throw UsageError(
      fmt::format("unknown option {}{}", name, meant ? fmt::format("; did you mean {}?", *meant) : ""));
}

std::vector<Setting> Command::settings(const FindSettings& find_settings) const {
  const bool has_keys = std::ranges::any_of(
      options_, [](const Option& option) { return !option.ignored && !option.names.empty(); });
  if (!find_settings || no_config_ || (!has_keys && !config_)) return {};
  return find_settings(config_ ? &*config_ : nullptr);
}

void Command::parse(std::span<const std::string> arguments, const FindSettings& find_settings) {
  std::vector<std::string> rewritten = rewrite(arguments);
  if (help_wanted_) return;  // whatever else is wrong
  const CutArguments cut = cut_arguments(options_, std::move(rewritten));
  if (!cut.unknown.empty()) refuse_unknown(cut.unknown.front());
  if (config_ && no_config_) throw UsageError("give --config FILE or --no-config, not both");
  const std::vector<Setting> from_config = settings(find_settings);
  for (std::size_t i = 0; i < options_.size(); ++i) {
    if (!options_[i].ignored) take_value(options_[i], cut.values[i], from_config);
  }
}

std::vector<std::string> Command::ignored_given() const {
  std::vector<std::string> names;
  for (const Option& option : options_) {
    if (option.ignored) names.insert(names.end(), option.given.begin(), option.given.end());
  }
  return names;
}

std::string Command::effective_values() const {
  std::string text;
  for (const Option& option : options_) {
    if (option.ignored) continue;
    std::vector<std::string> values = option.given;
    if (!option.repeatable && values.size() > 1) values = {values.back()};
    if (values.empty() && option.default_text.empty()) values = {option.is_flag() ? "false" : "unset"};
    if (values.empty()) values = {option.default_text};
    const bool hidden = option.secret && !option.given.empty();
    for (const std::string& value : values) {
      text += fmt::format("{} = {}  ({})\n", option.key(), hidden ? "(hidden)" : value, source_text(option));
    }
  }
  return text;
}

}  // namespace ttt::cli
