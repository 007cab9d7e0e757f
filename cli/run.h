// SPDX-License-Identifier: Apache-2.0
// `ttt run`: reads a prompt and continues it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/open_model.h"
#include "engine/session.h"

namespace ttt::cli {

struct RunOptions {
  ModelOptions model;

  // Where the prompt comes from: one of these, else stdin if it is not a terminal.
  std::optional<std::string> prompt;
  std::optional<std::string> file;    // "-": stdin
  std::optional<std::string> tokens;  // "1,2,3" or "@file"
  std::string positional_prompt;      // "-": stdin
  bool no_bos = false;
  bool parse_special = false;

  std::int64_t max_tokens = 256;  // -1: until the end-of-text token
  double temperature = 0.8;
  std::optional<std::int64_t> seed;  // empty: another one each time
  std::vector<std::string> stop;

  bool echo = false;
  bool timings = false;
  bool json = false;
  std::vector<std::string> ignored;  // flags of other programs that were given and mean nothing here
};

struct RunResult {
  std::string text;  // what was generated, after the prompt with --echo; empty without a tokenizer
  std::vector<TokenId> tokens;
  FinishReason reason = FinishReason::kRunning;  // kRunning: interrupted
  std::size_t prompt_tokens = 0;
  std::int64_t seed = 0;
  double load_seconds = 0.0;
  double prefill_seconds = 0.0;
  double decode_seconds = 0.0;
  std::size_t decode_steps = 0;

  double prefill_rate() const;  // tokens/s; 0 where nothing was measured
  double decode_rate() const;
};

std::string_view finish_reason(const RunResult& result);  // "length", "stop", "interrupted"

// Prints and returns the exit code.
int run(const RunOptions& options);

// The timings of --timings, a few lines.
std::string timings_text(const RunResult& result);

// Runs `session` to its end and fills in the result. `on_text` is called after each step with the text that
// became certain, possibly none.
void run_session(Session& session, Backend& backend, const std::function<void(std::string_view)>& on_text,
                 RunResult& result);

}  // namespace ttt::cli
