// SPDX-License-Identifier: Apache-2.0
// Log-probabilities under the unmodified softmax of a row of logits.
#pragma once

#include <span>

#include "tokenizer/tokenizer.h"

namespace ttt {

using tokenizer::TokenId;

struct TokenLogProb {
  TokenId id = -1;
  float log_prob = 0.0F;  // natural logarithm, of the unmodified softmax

  friend bool operator==(const TokenLogProb&, const TokenLogProb&) = default;
};

// log(sum(exp(logits))), which turns a logit into a log-probability. Terms in fp32 (within 2e-7), summed in
// double, so that it is off by less than the rounding of the log-probability it goes into.
// REQUIRES: not empty. Meaningless where a logit is not finite, yet defined.
double log_sum_exp(std::span<const float> logits);

// Of the token `id`, from the log_sum_exp() of its row.
float log_prob(std::span<const float> logits, TokenId id, double normaliser);

// The n most probable tokens, best first, ties to the lowest id, NaN last. `out` has n places, n <=
// vocabulary; `normaliser` is log_sum_exp(logits).
void top_log_probs(std::span<const float> logits, double normaliser, std::span<TokenLogProb> out);

}  // namespace ttt
