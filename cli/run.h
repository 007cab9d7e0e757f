// SPDX-License-Identifier: Apache-2.0
// `ttt run`: reads a prompt and continues it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/generate.h"
#include "cli/open_model.h"
#include "cli/sampling_options.h"
#include "cli/state_files.h"
#include "engine/engine.h"

namespace ttt::cli {

// Of `ttt run --batch` (cli/batch.h).
struct BatchOptions {
  std::optional<std::string> input;   // "-": stdin; empty: no batch
  std::optional<std::string> output;  // "-" or empty: stdout
  std::int64_t parallel = 8;          // sequences at once
  std::string bad_lines = "report";   // or "stop"
  bool resume = false;
  bool force = false;
};

struct RunOptions {
  ModelOptions model;
  SamplingOptions sampling;

  // Where the prompt comes from: one of these, else stdin if it is not a terminal.
  std::optional<std::string> prompt;
  std::optional<std::string> file;    // "-": stdin
  std::optional<std::string> tokens;  // "1,2,3" or "@file"
  std::string positional_prompt;      // "-": stdin
  bool no_bos = false;
  bool parse_special = false;

  StateOptions state;

  bool echo = false;
  bool timings = false;
  bool json = false;

  BatchOptions batch;
  std::vector<std::string> ignored;  // flags of other programs that were given and mean nothing here
};

struct RunResult {
  Generation generation;
  std::string prompt_text;            // with --echo
  std::size_t tokens_from_state = 0;  // of the prompt, not read again
  std::uint64_t seed = 0;
  double load_seconds = 0.0;

  std::size_t completion_tokens() const;  // of all choices, tokens that ended a text not counted
  // Of the choice that took longest.
  const RequestTimes& times() const;
  std::size_t prompt_tokens_computed() const;
  double prefill_rate() const;  // tokens/s; 0 where nothing was measured
  double decode_rate() const;   // of all choices together; the step that drew the end-of-text token is one
};

// As JSON and people see it: "length", "stop", "interrupted", "time_limit".
std::string_view finish_reason(const Choice& choice);

// Prints and returns the exit code.
int run(const RunOptions& options);

// The timings of --timings, a few lines.
std::string timings_text(const RunResult& result);

// What the end of a generation means for the exit code.
int exit_code(const Generation& generation);

}  // namespace ttt::cli
