// SPDX-License-Identifier: Apache-2.0
#include "cli/prediction_comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "cli/eval_logits.h"
#include "cli/exit_code.h"
#include "cli/progress.h"
#include "cli/readable.h"
#include "cli/signals.h"

namespace ttt::cli {
namespace {

std::size_t top_of(std::span<const float> logits) {
  return static_cast<std::size_t>(std::ranges::max_element(logits) - logits.begin());
}

MeanEstimate estimate(std::span<const double> values) {
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0.0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / (count - 1.0) / count)};
}

// The smallest value that at least `share` of all do not exceed. Reorders them.
double quantile_of(std::vector<double>& values, double share) {
  const double rank = std::ceil(share * static_cast<double>(values.size()));
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(rank) - 1;
  std::ranges::nth_element(values, at);
  return *at;
}

Segment logits_segment(std::span<const TokenId> ids, std::size_t first) {
  Segment segment;
  segment.position = static_cast<std::int64_t>(first);
  segment.tokens = ids.subspan(first, std::min(kLogitsLimits.tokens, ids.size() - first));
  segment.wanted.logits = Rows::kAll;
  return segment;
}

}  // namespace

void PredictionTally::add(std::span<const float> source, std::span<const float> output, TokenId target) {
  const std::size_t source_top = top_of(source);
  const std::size_t output_top = top_of(output);
  const double source_max = source[source_top];
  const double output_max = output[output_top];
  double source_sum = 0.0, output_sum = 0.0;
  double difference = 0.0;  // of the logits, weighted with the source's probabilities
  for (std::size_t i = 0; i < source.size(); ++i) {
    const double logit = source[i];
    const double weight = std::exp(logit - source_max);
    source_sum += weight;
    output_sum += std::exp(output[i] - output_max);
    difference += weight * (logit - output[i]);
  }
  const double source_normaliser = source_max + std::log(source_sum);
  const double output_normaliser = output_max + std::log(output_sum);
  const double divergence = difference / source_sum - (source_normaliser - output_normaliser);
  if (!std::isfinite(divergence)) {
    throw std::runtime_error(
        fmt::format("after token {} a logit of one of the models is not finite", divergences_.size() + 1));
  }
  const auto index = static_cast<std::size_t>(target);
  source_losses_.push_back(source_normaliser - source[index]);
  loss_changes_.push_back(output_normaliser - output[index] - source_losses_.back());
  divergences_.push_back(std::max(0.0, divergence));  // rounding leaves 1e-15 below nothing
  if (source_top == output_top) ++same_top_;
}

PredictionComparison PredictionTally::summary() const {
  const auto count = static_cast<double>(divergences_.size());
  const MeanEstimate change = estimate(loss_changes_);
  const double ratio = std::exp(change.mean);
  const double same = static_cast<double>(same_top_) / count;
  std::vector<double> divergences = divergences_;
  PredictionComparison result;
  result.tokens = divergences.size() + 1;
  result.source_loss = estimate(source_losses_).mean;
  result.output_loss = result.source_loss + change.mean;
  result.source_perplexity = std::exp(result.source_loss);
  result.output_perplexity = result.source_perplexity * ratio;
  result.perplexity_change = {ratio - 1.0, ratio * change.error};  // d(e^x) = e^x dx
  result.divergence = estimate(divergences);
  result.divergence_p99 = quantile_of(divergences, 0.99);
  result.divergence_max = std::ranges::max(divergences);
  result.same_top = {same, std::sqrt(same * (1.0 - same) / (count - 1.0))};
  return result;
}

PredictionComparison compare_predictions(Backend& source, Backend& output, std::span<const TokenId> ids) {
  const auto begin = std::chrono::steady_clock::now();
  Progress progress("comparing", Progress::Unit::kTokens);
  const std::span<const TokenId> inputs = ids.first(ids.size() - 1);
  PredictionTally tally;
  source.reset(0);
  output.reset(0);
  for (std::size_t first = 0; first < inputs.size(); first += kLogitsLimits.tokens) {
    check_interrupted();
    const std::array<Segment, 1> batch = {logits_segment(inputs, first)};
    source.submit(batch);
    output.submit(batch);
    const std::span<const float> wanted = source.wait().front().logits;
    const std::span<const float> found = output.wait().front().logits;
    const std::size_t rows = batch[0].tokens.size();
    const std::size_t vocabulary = wanted.size() / rows;
    for (std::size_t row = 0; row < rows; ++row) {
      tally.add(wanted.subspan(row * vocabulary, vocabulary), found.subspan(row * vocabulary, vocabulary),
                ids[first + row + 1]);
    }
    progress.update(first + rows, inputs.size());
  }
  PredictionComparison result = tally.summary();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

void check_both_fit(std::uint64_t source, std::uint64_t output, std::optional<std::uint64_t> usable) {
  if (!usable || source + output <= *usable) return;
  throw MemoryError(fmt::format(
      "to compare both models -f needs {} (the source {}, the output {}), and {} can be had: close other "
      "programs, raise the control group's limit, or leave -f out and run `ttt eval ppl` on one model after "
      "the other",
      readable_memory(source + output), readable_memory(source), readable_memory(output),
      readable_memory(*usable)));
}

}  // namespace ttt::cli
