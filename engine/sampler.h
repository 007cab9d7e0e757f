// SPDX-License-Identifier: Apache-2.0
// Logits to a token. The same definitions hold on every backend: ties go to the lowest id, and the draw
// comes from a counter-based generator, so that it depends on nothing but its key.
#pragma once

#include <cstdint>
#include <span>

#include "tokenizer/tokenizer.h"

namespace ttt {

using tokenizer::TokenId;

struct SamplingParams {
  float temperature = 0.0F;  // >= 0; 0 takes the largest logit
  // The key of every draw, together with the position of the token that is drawn.
  std::uint64_t seed = 0;
  std::uint32_t prompt_index = 0;  // which prompt of a request
  std::uint32_t choice = 0;        // which continuation of a prompt
};

struct TokenLogProb {
  TokenId id = -1;
  float log_prob = 0.0F;  // natural logarithm, of the unmodified softmax
};

// log(sum(exp(logits))), accumulated in double. REQUIRES: not empty, finite.
double log_sum_exp(std::span<const float> logits);

// The token at `position` of its sequence, and its log-probability under the unmodified softmax.
TokenLogProb sample(std::span<const float> logits, const SamplingParams& params, std::int64_t position);

// The n most probable tokens, best first, ties to the lowest id. `out` has n places; n <= vocabulary.
void top_log_probs(std::span<const float> logits, std::span<TokenLogProb> out);

// Uniform in [0, 1) with 53 bits, from Philox4x32-10 (Salmon et al., 2011) under the key above.
double uniform_draw(std::uint64_t seed, std::uint32_t prompt_index, std::uint32_t choice,
                    std::int64_t position);

}  // namespace ttt
