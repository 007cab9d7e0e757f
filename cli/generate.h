// SPDX-License-Identifier: Apache-2.0
// What comes out of a token stream, put together.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "engine/token_stream.h"

namespace ttt::cli {

// How soon a signal is noticed while no token comes.
inline constexpr std::chrono::milliseconds kPollTime(50);

struct Choice {
  std::string text;               // empty without a tokenizer
  std::vector<TokenInfo> tokens;  // drawn, one that ended the text included
  Finish finish;

  // What is part of the output: without the token that ended the text.
  std::vector<TokenId> output_ids() const;
};

struct Generation {
  std::vector<TokenInfo> prompt_tokens;  // where their log-probabilities were asked for
  std::vector<Choice> choices;
  std::size_t prompt_tokens_read = 0;
};

// Adds an event to what came before.
void add_event(Generation& generation, TokenEvent event);

// Reads the stream to its end and shows on a terminal how far a long prompt is. A signal cancels the request:
// the step in flight is finished then. `on_event` sees each event before it is added.
Generation read_stream(TokenStream& stream, const std::function<void(const TokenEvent&)>& on_event);

// Throws std::runtime_error with the sentence of a choice that failed; DeviceLost where it failed so.
void check_not_failed(const Generation& generation);

}  // namespace ttt::cli
