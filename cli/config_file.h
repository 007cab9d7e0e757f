// SPDX-License-Identifier: Apache-2.0
// The configuration file: which one is read, and what its keys mean. Its syntax is in toml.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/options.h"

namespace ttt::cli {

// The file that --config names (`given`) or TTT_CONFIG, else $XDG_CONFIG_HOME/ttt/config.toml or
// ~/.config/ttt/config.toml if that exists.
std::optional<std::string> config_path(const std::string* given);

// What the file says about `command`: its table's keys and, unless the table has them too, the keys before
// the first table. The whole file is checked, also what other commands read: names of tables and keys, kinds
// of values. A value that names a model or a file may begin with ~/. Throws UsageError with file, line,
// wanted and found; std::runtime_error for a file that cannot be read.
std::vector<Setting> read_settings(const std::string& path, std::span<const Command> commands,
                                   const Command& command);

}  // namespace ttt::cli
