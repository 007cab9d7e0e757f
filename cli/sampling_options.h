// SPDX-License-Identifier: Apache-2.0
// The options of every command that generates, and the request that they make.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/exit_code.h"
#include "cli/open_model.h"
#include "cli/options.h"
#include "engine/request.h"
#include "engine/request_error.h"

namespace ttt::cli {

struct SamplingOptions {
  std::int64_t max_tokens = 256;  // -1: until the end-of-text token
  std::int64_t min_tokens = 0;
  double temperature = 0.8;
  std::int64_t top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
  double typical_p = 1.0;
  double repeat_penalty = 1.0;
  std::int64_t repeat_last_n = 64;
  double presence_penalty = 0.0;
  double frequency_penalty = 0.0;
  std::vector<std::string> logit_bias;       // "ID=BIAS"
  std::optional<std::string> banned_tokens;  // "1,2,3"
  std::optional<std::string> allowed_tokens;
  std::optional<std::int64_t> seed;  // empty: another one each time
  std::vector<std::string> stop;
  std::optional<std::string> stop_token_ids;
  bool ignore_eos = false;
  std::int64_t num = 1;
  std::int64_t best_of = 0;
  std::optional<std::int64_t> logprobs;
  double timeout = 0.0;  // seconds; 0: none
};

void add_sampling_options(Command& command, SamplingOptions& options);

// Everything but the prompt. `seed` is used where the options name none. Throws UsageError.
GenerationRequest make_request(const SamplingOptions& options, const ModelFiles& files, std::uint64_t seed);

// What the engine refuses, in words of the command line: "--typical-p is 0; ...".
UsageError in_option_words(const RequestError& error);

// 32 bits: differs from call to call and is exact as a JSON number.
std::uint64_t random_seed();

// Continuations that run at once.
inline std::size_t num_sequences(const SamplingOptions& options) {
  return static_cast<std::size_t>(options.best_of == 0 ? options.num : options.best_of);
}

}  // namespace ttt::cli
