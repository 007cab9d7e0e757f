// SPDX-License-Identifier: Apache-2.0
#include "cli/config_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <stdexcept>

#include "cli/exit_code.h"
#include "cli/parse_value.h"
#include "cli/readable.h"
#include "cli/toml.h"

namespace ttt::cli {
namespace {

using Kind = TomlEntry::Kind;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

struct Descriptor {
  int number = -1;
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
};

[[noreturn]] void refuse_file(const std::string& path, const std::string& reason) {
  throw std::runtime_error(
      fmt::format("cannot read the configuration file {}: {}; name another one with --config FILE, or give "
                  "--no-config",
                  path, reason));
}

// Reads no more than one byte beyond what parse_toml accepts.
std::string read_bounded(const std::string& path) {
  // Without O_NONBLOCK a pipe without a writer would be waited for.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.number < 0) refuse_file(path, std::strerror(errno));
  struct stat status = {};
  if (::fstat(file.number, &status) != 0) refuse_file(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) refuse_file(path, "it is not a regular file");
  std::string text(kMaxTomlBytes + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t count = ::read(file.number, text.data() + size, text.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) refuse_file(path, std::strerror(errno));
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  text.resize(size);
  return text;
}

std::string with_dashes(std::string key) {
  std::ranges::replace(key, '_', '-');
  return key;
}

// "cli.toml:3: unknown key 'top-kk'; did you mean top-k?"
[[noreturn]] void refuse_name(const std::string& place, std::string_view what, const std::string& name,
                              std::optional<std::string> meant, std::string_view help) {
  throw UsageError(fmt::format("{}: {} '{}'{} ({})", place, what, escaped(name),
                               meant ? fmt::format("; did you mean {}?", *meant) : "", help));
}

std::string_view kind_name(Kind kind) {
  switch (kind) {
    case Kind::kString:
      return "the string";
    case Kind::kInteger:
      return "the integer";
    case Kind::kNumber:
      return "the number";
    case Kind::kBool:
      return "the truth value";
    case Kind::kStrings:
      break;
  }
  return "a list";
}

struct Acceptance {
  std::string_view wanted;
  std::vector<Kind> kinds;
};

Acceptance acceptance(Option::Kind kind) {
  switch (kind) {
    case Option::Kind::kFlag:
      return {"true or false", {Kind::kBool}};
    case Option::Kind::kInteger:
      return {"an integer, or one as a string such as \"32K\"", {Kind::kInteger, Kind::kString}};
    case Option::Kind::kNumber:
      return {"a number", {Kind::kNumber, Kind::kInteger}};
    case Option::Kind::kList:
      return {"a list of strings", {Kind::kStrings, Kind::kString}};
    case Option::Kind::kText:
    case Option::Kind::kChoice:
      break;
  }
  return {"a string in quotes", {Kind::kString}};
}

void check_kind(const std::string& place, const Option& option, const TomlEntry& entry) {
  const Acceptance accepted = acceptance(option.kind);
  if (std::ranges::find(accepted.kinds, entry.kind) != accepted.kinds.end()) return;
  std::string found(kind_name(entry.kind));
  if (entry.kind != Kind::kStrings) found += fmt::format(" {}", escaped(entry.values.front()));
  throw UsageError(fmt::format("{}: {}: wanted {}, found {}", place, entry.key, accepted.wanted, found));
}

std::string without_tilde(const std::string& place, const Option& option, const std::string& value) {
  if (!value.starts_with("~/") || !(option.names_model() || option.names_file())) return value;
  const std::string home = variable("HOME");
  if (home.empty()) {
    throw UsageError(fmt::format("{}: {}: wanted a path (HOME is not set, so ~ means nothing), found '{}'",
                                 place, option.key(), escaped(value)));
  }
  return home + value.substr(1);
}

class Reader {
 public:
  Reader(std::string path, std::span<const Command> commands, const Command& wanted)
      : path_(std::move(path)), commands_(commands), wanted_(wanted) {}

  std::vector<Setting> read() {
    std::map<std::string, std::size_t> lines;  // of each command's table
    for (const TomlTable& table : parse_toml(read_bounded(path_), path_)) {
      if (table.name.empty()) {
        read_top(table);
        continue;
      }
      const Command& command = find_command(table);
      if (const auto [first, is_new] = lines.emplace(command.name(), table.line); !is_new) {
        throw UsageError(
            fmt::format("{}: wanted one table for ttt {}, found a second (the first is in line {})",
                        place(table.line), command.name(), first->second));
      }
      read_table(table, command);
    }
    return std::move(settings_);
  }

 private:
  std::string place(std::size_t line) const { return fmt::format("{}:{}", path_, line); }

  const Command& find_command(const TomlTable& table) const {
    const std::string name = fmt::format("{}", fmt::join(table.name, " "));
    std::vector<std::string> names;
    std::optional<std::string> longer;  // "eval ppl" for "eval"
    for (const Command& command : commands_) {
      if (command.is_named(name)) return command;
      names.push_back(command.name());
      if (!longer && command.name().starts_with(name + " ")) longer = command.name();
    }
    refuse_name(place(table.line), "no command has the name of the table", name,
                longer ? longer : nearest(name, names), "ttt help lists the commands");
  }

  static const Option* find_option(const Command& command, const std::string& key) {
    const auto it = std::ranges::find_if(command.options(), [&](const Option& option) {
      return !option.ignored && option.is_named("--" + key);
    });
    return it == command.options().end() ? nullptr : &*it;
  }

  // The flag of which `key` is the opposite: "no-bos" for "bos".
  static std::optional<std::string> flag_against(const Command& command, const std::string& key) {
    for (const Option& option : command.options()) {
      if (option.is_flag() && option.opposite() == "--" + key) return option.key();
    }
    return std::nullopt;
  }

  static void add_keys(const Command& command, std::vector<std::string>& keys) {
    for (const Option& option : command.options()) {
      if (option.ignored) continue;
      for (const std::string& name : option.names) {
        if (name.starts_with("--")) keys.push_back(name.substr(2));
      }
    }
  }

  // The key that was probably meant, among those of `commands`.
  static std::optional<std::string> nearest_key(std::span<const Command> commands, const std::string& key) {
    std::vector<std::string> keys;
    for (const Command& command : commands) {
      if (auto flag = flag_against(command, key)) return flag;
      add_keys(command, keys);
    }
    return nearest(key, keys);
  }

  void read_table(const TomlTable& table, const Command& command) {
    std::map<const Option*, std::size_t> lines;
    for (const TomlEntry& entry : table.entries) {
      const std::string key = with_dashes(entry.key);
      const Option* option = find_option(command, key);
      if (option == nullptr) {
        refuse_name(place(entry.line), fmt::format("ttt {} has no option", command.name()), entry.key,
                    nearest_key({&command, 1}, key), fmt::format("ttt help {}", command.name()));
      }
      refuse_second(lines, option, entry);
      check_kind(place(entry.line), *option, entry);
      if (&command == &wanted_) set(*option, entry, true);
    }
  }

  void read_top(const TomlTable& table) {
    std::map<std::string, std::size_t> lines;
    for (const TomlEntry& entry : table.entries) {
      const std::string key = with_dashes(entry.key);
      const Option* any = nullptr;
      for (const Command& command : commands_) {
        const Option* option = find_option(command, key);
        if (option == nullptr || !option->is_shared()) continue;
        if (any == nullptr) refuse_second(lines, option->key(), entry);
        any = option;
        check_kind(place(entry.line), *option, entry);
        if (&command == &wanted_) set(*option, entry, false);
      }
      if (any == nullptr) refuse_top(entry, key);
    }
  }

  [[noreturn]] void refuse_top(const TomlEntry& entry, const std::string& key) const {
    for (const Command& command : commands_) {
      if (find_option(command, key) == nullptr) continue;
      throw UsageError(
          fmt::format("{}: {}: wanted under the table of one command, [{}] for instance, found before "
                      "the first table",
                      place(entry.line), entry.key, table_name(command)));
    }
    refuse_name(place(entry.line), "no command has an option", entry.key, nearest_key(commands_, key),
                "ttt help WORD searches all options");
  }

  static std::string table_name(const Command& command) {
    return command.name().find(' ') == std::string::npos ? command.name()
                                                         : fmt::format("\"{}\"", command.name());
  }

  template <typename Key>
  void refuse_second(std::map<Key, std::size_t>& lines, const Key& key, const TomlEntry& entry) const {
    const auto [first, is_new] = lines.emplace(key, entry.line);
    if (is_new) return;
    throw UsageError(fmt::format("{}: {}: wanted once, found again (the first is in line {})",
                                 place(entry.line), entry.key, first->second));
  }

  // A command's own table stands after the top, and wins.
  void set(const Option& option, const TomlEntry& entry, bool replace) {
    Setting setting{option.key(), {}, place(entry.line)};
    for (const std::string& value : entry.values) {
      setting.values.push_back(without_tilde(setting.place, option, value));
    }
    if (replace) std::erase_if(settings_, [&](const Setting& other) { return other.key == setting.key; });
    settings_.push_back(std::move(setting));
  }

  std::string path_;
  std::span<const Command> commands_;
  const Command& wanted_;
  std::vector<Setting> settings_;
};

}  // namespace

std::optional<std::string> config_path(const std::string* given) {
  if (given != nullptr) return *given;
  if (std::string named = variable("TTT_CONFIG"); !named.empty()) return named;
  std::string folder = variable("XDG_CONFIG_HOME");
  if (!folder.starts_with('/')) {  // a relative one is to be ignored, says its specification
    const std::string home = variable("HOME");
    if (home.empty()) return std::nullopt;
    folder = home + "/.config";
  }
  std::string path = folder + "/ttt/config.toml";
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  return path;
}

std::vector<Setting> read_settings(const std::string& path, std::span<const Command> commands,
                                   const Command& command) {
  return Reader(path, commands, command).read();
}

}  // namespace ttt::cli
