// SPDX-License-Identifier: Apache-2.0
// Help texts, made from the declarations of options.h.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/options.h"

namespace ttt::cli {

struct HelpOptions {
  std::string topic;       // a command, or a word to search for; empty: the overview
  std::string topic_rest;  // second word of a command ("eval ppl")
};

std::string overview_text(std::span<const Command> commands);
std::string help_text(const Command& command);
// Every option whose name or help has `word` in it, dashes and letter case aside ("topk" finds --top-k), and
// every command; empty if there is none.
std::string search_text(std::span<const Command> commands, std::string_view word);

// `ttt help`. Throws UsageError for a topic that nothing matches.
int help(std::span<const Command> commands, const HelpOptions& options);

// "-n, --max-tokens N", "--timings", "MODEL".
std::string option_heading(const Option& option);

}  // namespace ttt::cli
