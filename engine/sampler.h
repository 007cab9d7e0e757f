// SPDX-License-Identifier: Apache-2.0
// Logits to a token. The same definitions hold on every backend; the steps run in this order.
//
//   1 bans                no id of params.banned, of the step's `banned`, or with a bias of -100; only those
//                         of params.allowed if that is not empty; only those with a bias of 100 if any has
//   2 logit_bias          added to the logit; an id that is named twice gets both
//   3 repetition_penalty  where in_window > 0: a positive logit is divided by it, any other multiplied
//   4 presence_penalty    subtracted where in_output > 0
//     frequency_penalty   times in_output, subtracted
//   5 temperature         0: the largest logit is taken, and steps 6 to 10 are left out; else it divides the
//                         logits, and what is left has the probabilities of their softmax
//   6 top_k               keeps the k largest logits
//   7 typical_p           keeps the smallest set, by |-log p - H| ascending, whose probability reaches it;
//                         H is the entropy of what step 6 left (Meister et al., 2022)
//   8 top_p               keeps the smallest set, by logit descending, whose probability reaches it
//   9 min_p               keeps what is at least min_p times as probable as the most probable one left
//  10 draw                the lowest id at which the cumulative probability, in order of ids, exceeds
//                         a uniform number that depends on (seed, prompt_index, choice, position) alone
//
// Each of 6 to 9 sees probabilities that add up to 1 over what was left before it, and keeps at least one
// token. Equal ones are ordered by id, the lowest first; min_p alone keeps all of equal probability.
//
// Arithmetic: steps 2 to 4 in fp32, in the order written; then the difference to the largest logit that is
// not banned, divided by the temperature, and all probabilities in double.
//
// Logits that are not finite count as the nearest finite number, NaN as the lowest. If the bans leave
// nothing, the step's are forgotten, and if that leaves nothing (check_sampling() refuses such params), all
// are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/log_probs.h"
#include "engine/sampling_params.h"
#include "engine/token_counts.h"

namespace ttt {

struct TokenProbability {
  TokenId id = 0;
  double probability = 0.0;
};

// Scratch for rows of up to `vocab_size` logits; nothing carries over from call to call. One thread at a
// time. REQUIRES of every call: a row that is not empty nor longer than the scratch; find_fault() finds none
// in `params`; the ids of `counts` and `banned` (which holds for this step alone) within the row.
class Sampler {
 public:
  explicit Sampler(std::size_t vocab_size);

  // The token at `position` of its sequence. Allocates nothing.
  TokenId sample(std::span<const float> logits, const SamplingParams& params,
                 std::span<const TokenCount> counts, std::span<const TokenId> banned, std::int64_t position);

  // What step 10 draws from, by id; at temperature 0 the one token. Probabilities may be 0 where the softmax
  // underflows.
  std::vector<TokenProbability> distribution(std::span<const float> logits, const SamplingParams& params,
                                             std::span<const TokenCount> counts,
                                             std::span<const TokenId> banned);

  static std::size_t bytes(std::size_t vocab_size);  // of the scratch

 private:
  struct Candidate {
    TokenId id;
    float logit;
    double weight;  // not normalised; the largest logit of all that is not banned has 1
  };

  std::span<const float> row() const { return std::span(adjusted_).first(row_size_); }
  std::span<Candidate> candidates() { return std::span(candidates_).first(num_candidates_); }
  void prepare(std::span<const float> logits, const SamplingParams& params,
               std::span<const TokenCount> counts, std::span<const TokenId> banned);
  void adjust(std::span<const float> logits, const SamplingParams& params,
              std::span<const TokenCount> counts);
  void ban(const SamplingParams& params);
  std::size_t index_of_largest() const;
  void collect(const SamplingParams& params);
  void collect_above(float bound);
  void collect_best(std::size_t count);
  void set_keys_to_logits();
  double exponent(const Candidate& candidate, const SamplingParams& params) const;
  void filter(const SamplingParams& params);
  void keep_typical(const SamplingParams& params);
  void keep_top(double top_p, double temperature);
  void keep_smallest_set(double wanted_weight, double reach);
  double total_weight();

  std::vector<float> adjusted_;  // by id; minus infinity where banned, else finite
  std::size_t row_size_ = 0;
  float largest_ = 0.0F;
  // What is left, by id. Sized once; num_candidates_ of them count.
  std::vector<Candidate> candidates_;
  std::size_t num_candidates_ = 0;
  // For keep_smallest_set(): what orders each candidate, and the indices of those that may be the last.
  std::vector<std::uint32_t> order_;
  std::vector<double> keys_;
};

// One call of Sampler::sample() with its log-probability, where the cost of the scratch does not matter.
TokenLogProb sample(std::span<const float> logits, const SamplingParams& params, std::int64_t position,
                    std::span<const TokenCount> counts = {}, std::span<const TokenId> banned = {});

// Uniform in [0, 1) with 53 bits, from Philox4x32-10 (Salmon et al., 2011) under the key above.
double uniform_draw(std::uint64_t seed, std::uint32_t prompt_index, std::uint32_t choice,
                    std::int64_t position);

}  // namespace ttt
