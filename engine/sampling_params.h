// SPDX-License-Identifier: Apache-2.0
// What a request may ask of the sampler, and the check of it. What each parameter does: engine/sampler.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace ttt {

using tokenizer::TokenId;

struct LogitBias {
  TokenId id = 0;
  float bias = 0.0F;  // [-100, 100]
};

// The lists have initialisers so that g++ does not warn where they are not designated.
struct SamplingParams {
  float temperature = 0.0F;         // [0, 100]; 0 takes the largest logit
  std::int32_t top_k = 0;           // 0: all
  float typical_p = 1.0F;           // (0, 1]
  float top_p = 1.0F;               // [0, 1]; 0 keeps the most probable token, as OpenAI clients expect
  float min_p = 0.0F;               // [0, 1]
  float repetition_penalty = 1.0F;  // (0, 100]
  std::int32_t repeat_last_n = 64;  // tokens of prompt and output that it looks at; 0: none, -1: all
  float presence_penalty = 0.0F;    // [-2, 2]
  float frequency_penalty = 0.0F;   // [-2, 2]
  std::vector<LogitBias> logit_bias = {};  // added to logits; -100: never, 100: only such ids, as OpenAI's
  std::vector<TokenId> banned = {};        // never
  std::vector<TokenId> allowed = {};       // if not empty, only these
  // The key of every draw, together with the position of the token that is drawn.
  std::uint64_t seed = 0;
  std::uint32_t prompt_index = 0;  // which prompt of a request
  std::uint32_t choice = 0;        // which continuation of a prompt
};

// A value or an id that is out of its range.
struct SamplingFault {
  const char* parameter = "";
  double found = 0.0;
  double low = 0.0, high = 0.0;
  bool low_excluded = false;
  bool is_token = false;  // `found` is a token id
};

// The first fault, NaN included. Looks at each value and id alone, so that it allocates nothing and suits
// every step.
std::optional<SamplingFault> find_fault(const SamplingParams& params, std::size_t vocab_size);

// Throws RequestError, whose sentence names the parameter, its range and what was found. Besides the faults
// above it refuses an id twice in logit_bias, and bans and permissions that together leave no token.
void check_sampling(const SamplingParams& params, std::size_t vocab_size);

}  // namespace ttt
