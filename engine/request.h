// SPDX-License-Identifier: Apache-2.0
// What is asked of the engine, and how it can end. Plain data.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampler.h"
#include "engine/sequence_state.h"
#include "tokenizer/tokenizer.h"

namespace ttt {

using tokenizer::TokenId;

// One prompt and how to continue it.
struct GenerationRequest {
  std::vector<TokenId> prompt;    // at least one id
  std::int64_t max_tokens = 256;  // tokens to generate; 0: read the prompt only; -1: until something ends it
  std::int64_t min_tokens = 0;    // before these, eos and stop ids cannot be drawn; stop strings still end
  SamplingParams sampling;        // `choice` is set by the engine: 0 ... best_of - 1
  std::optional<TokenId> eos_id;  // ends generation; not part of the output
  std::vector<TokenId> stop_ids;  // likewise
  std::vector<std::string> stop_strings;  // none empty; the text ends before them

  // Continuations of the prompt, which is read once. `best_of` are generated and the `num_choices` with the
  // highest mean log-probability per token returned, best first; 0: as many as num_choices.
  std::int64_t num_choices = 1;
  std::int64_t best_of = 0;

  // Log-probabilities of generated tokens, each with this many of the most probable ones; empty: none wanted.
  std::optional<std::int64_t> top_log_probs;
  bool prompt_log_probs = false;  // of the prompt's tokens too. REQUIRES: top_log_probs
  // Given continuations, one for each choice: they are read behind the prompt, and told with their
  // log-probabilities; nothing is drawn. REQUIRES: none empty; max_tokens 0, top_log_probs, not
  // prompt_log_probs.
  std::vector<std::vector<TokenId>> continuations;

  // What was learned from the first tokens of the prompt, which are not read again: the same follows as if
  // they were. Null: begins with nothing. REQUIRES: of this model and of these tokens but for the last or
  // more; not prompt_log_probs.
  std::shared_ptr<const SequenceState> start;
  // Finish::state is wanted. With max_tokens 0 the last token of the prompt is left unread then, as whoever
  // goes on wants to know what follows it. REQUIRES: one sequence, no continuations.
  bool keep_state = false;

  std::chrono::milliseconds time_limit{0};  // from submission, waiting included; 0: none
};

inline constexpr std::int64_t kMaxChoices = 128;
inline constexpr std::int64_t kMaxTopLogProbs = 1000;
inline constexpr std::chrono::milliseconds kMaxTimeLimit{1'000'000'000'000};  // some 30 years
inline constexpr std::size_t kMaxStopStrings = 64;
inline constexpr std::size_t kMaxStopIds = 1024;

// The continuations that run for a request.
inline std::size_t num_sequences(const GenerationRequest& request) {
  return static_cast<std::size_t>(request.best_of == 0 ? request.num_choices : request.best_of);
}

// Of the prompt and the given continuations.
std::size_t num_given_tokens(const GenerationRequest& request);

// Of `given` tokens, those that are read before anything is drawn.
std::size_t num_tokens_to_read(const GenerationRequest& request, std::size_t given);

// Throws RequestError, which names the parameter, its range and what was found.
void check_request(const GenerationRequest& request, std::size_t vocab_size);

enum class FinishReason : std::uint8_t {
  kRunning,
  kLength,      // max_tokens
  kEndOfText,   // eos
  kStopId,      // one of stop_ids
  kStopString,  // one of stop_strings
  kTimeLimit,
  kCancelled,
  kFailed,  // the device failed in a step with this sequence, or memory ran out
};

// OpenAI's words where it has one: "length", "stop"; else "time_limit", "cancelled", "error", "running".
std::string_view to_string(FinishReason reason);

}  // namespace ttt
