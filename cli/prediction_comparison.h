// SPDX-License-Identifier: Apache-2.0
// What two models predict of the same text, side by side: how much the second loses against the first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/backend.h"

namespace ttt::cli {

// A mean over the predictions of a text and its standard error, as if they were independent.
struct MeanEstimate {
  double mean = 0.0;
  double error = 0.0;
};

// Of `source` against `output`; logarithms are natural.
struct PredictionComparison {
  std::size_t tokens = 0;  // ids, bos included; one prediction fewer
  double source_loss = 0.0, output_loss = 0.0;
  double source_perplexity = 0.0, output_perplexity = 0.0;
  MeanEstimate perplexity_change;  // relative to the source's; the error is that of losses paired by token
  MeanEstimate divergence;         // Kullback-Leibler, source || output, nats a token
  double divergence_p99 = 0.0;     // 99 % of the tokens have at most this much
  double divergence_max = 0.0;
  MeanEstimate same_top;  // share of the tokens before which both find the same token most probable
  double seconds = 0.0;
};

// Takes both models' logits row by row and keeps three numbers of each.
class PredictionTally {
 public:
  // Logits [V] of both before the token `target`. Softmax in double. Of equal logits the first is on top.
  // Throws std::runtime_error where a logit is not finite.
  void add(std::span<const float> source, std::span<const float> output, TokenId target);
  // All but `seconds`. REQUIRES: two rows or more.
  PredictionComparison summary() const;

 private:
  std::vector<double> source_losses_, loss_changes_, divergences_;
  std::size_t same_top_ = 0;
};

inline constexpr std::size_t kMinComparedTokens = 3;  // two predictions: fewer have no error

// Reads the ids in slot 0 of both from the beginning, at once and piece by piece, so that memory does not
// grow with the text's logits. Both have room for eval_logits.h's kLogitsLimits. Throws Interrupted.
// REQUIRES: kMinComparedTokens or more, of one vocabulary.
PredictionComparison compare_predictions(Backend& source, Backend& output, std::span<const TokenId> ids);

// Throws MemoryError where both models together need more bytes than can be had (empty: not known).
void check_both_fit(std::uint64_t source, std::uint64_t output, std::optional<std::uint64_t> usable);

}  // namespace ttt::cli
