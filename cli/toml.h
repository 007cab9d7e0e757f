// SPDX-License-Identifier: Apache-2.0
// The syntax of a configuration file: a strict part of TOML 1.0. What a key means is decided in config_file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ttt::cli {

inline constexpr std::size_t kMaxTomlBytes = std::size_t{1} << 20;
inline constexpr std::size_t kMaxTomlKeyBytes = 64;  // of a key, and of each part of a table's name

struct TomlEntry {
  enum class Kind : std::uint8_t { kString, kInteger, kNumber, kBool, kStrings };
  std::string key;
  Kind kind = Kind::kString;
  // As the command line spells them: escapes are undone, 1_000 is 1000. One, but for kStrings.
  std::vector<std::string> values;
  std::size_t line = 0;  // from 1
};

struct TomlTable {
  std::vector<std::string> name;  // {"eval", "ppl"}; empty: what stands before the first header
  std::size_t line = 0;
  std::vector<TomlEntry> entries;
};

// Comments, `key = value`, [table] and [dotted.table]; strings in "..." or '...', decimal integers, floats,
// booleans, lists of strings. Everything else of TOML is refused: dotted keys, inline tables, dates,
// multi-line strings, other lists. The first table is always there and has no name. Repeated keys and tables
// are left to the caller. Time and memory are linear in the text and nothing recurses. Throws UsageError
// "PATH:LINE: wanted W, found F".
std::vector<TomlTable> parse_toml(std::string_view text, std::string_view path);

}  // namespace ttt::cli
