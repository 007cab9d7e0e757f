// SPDX-License-Identifier: Apache-2.0
// `ttt completion SHELL`: a script by which a shell completes commands, options, their choices and files,
// made from the declarations of options.h. The script never runs ttt.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/options.h"

namespace ttt::cli {

struct CompletionOptions {
  std::string shell;  // "bash", "zsh" or "fish"
};

std::string completion_script(std::string_view shell, std::span<const Command> commands);
int completion(std::span<const Command> commands, const CompletionOptions& options);

}  // namespace ttt::cli
