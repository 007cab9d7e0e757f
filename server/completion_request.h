// SPDX-License-Identifier: Apache-2.0
// POST /v1/completions, /v1/chat/completions and /v1/score: from a body to requests for the engine, with the
// API's defaults and rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"
#include "server/answers.h"
#include "server/served_model.h"

namespace ttt::server {

// What the operator allows a client.
struct RequestLimits {
  std::int64_t max_prompt_tokens = 0;  // 0: none; of each prompt
  std::int64_t max_output_tokens = 0;  // 0: none
  std::int64_t max_logprobs = 20;
  // Of all tokens of an answer together, those that a stream has sent not counted: each takes some 100 bytes.
  double max_answer_logprobs = 4e6;
  double max_echoed_tokens = 32e6;  // as text, of all prompts and choices of an answer together
  double max_answer_ids = 4e6;      // likewise, as ids: some 30 bytes each while the answer is made
  double max_score_tokens = 16e6;   // of a score's prompt, as often as it is read
  double max_state_tokens = 16e6;   // of a state, once for each of several prompts that go on from it
  std::size_t max_stop = 16;
  std::size_t max_prompts = 128;
  std::chrono::milliseconds time_limit{0};  // of each request, waiting included; 0: none
  bool strict_fields = false;               // fields that nobody knows are an error
};

struct CompletionRequest {
  std::vector<GenerationRequest> prompts;  // one for each, in order; of a score groups of completions
  std::string model;                       // as the answer names it
  AnswerShape shape = AnswerShape::kText;
  std::uint64_t seed = 0;  // the one used
  bool echo = false;
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool tokens_as_ids = false;
  bool token_ids = false;            // wanted beside the text
  std::vector<std::string> ignored;  // fields without effect

  // Of each prompt; the last group of a score may have fewer.
  std::size_t num_choices() const { return static_cast<std::size_t>(prompts.front().num_choices); }
  std::size_t num_given_tokens() const;  // the prompt of a score counted once
  std::size_t num_cached_tokens() const;
};

// Those of the prompt that are not read, as the state that it starts with has read them.
inline std::size_t num_cached_tokens(const GenerationRequest& request) {
  return request.start ? static_cast<std::size_t>(request.start->position) : 0;
}

// Throws ApiError. What depends on the engine's slots and queue is not checked here. `random_seed` is used
// where the body names no seed.
CompletionRequest parse_completion(std::string_view body, AnswerShape shape, const ServedModel& model,
                                   const RequestLimits& limits, std::uint64_t random_seed);

// An ApiError of status 404 that lists the names, unless `name` is one of them.
void check_model_name(const ServedModel& model, const std::string& name);

// Ids of a text as a prompt, bos in front where the model wants it. Throws ApiError.
std::vector<TokenId> encode_prompt(const ServedModel& model, const std::string& text, bool bos);

}  // namespace ttt::server
