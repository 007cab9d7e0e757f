// SPDX-License-Identifier: Apache-2.0
#include "cuda/step_plan.h"

#include <algorithm>

#include "cuda/forward.h"
#include "engine/mini_batch.h"
#include "engine/sampler.h"

namespace ttt::cuda {
namespace {

// Index of a segment's row among those for which `rows` asks, if it is one of them.
std::optional<std::size_t> index_in(Rows rows, std::size_t row, std::size_t num_rows) {
  if (rows == Rows::kAll) return row;
  if (rows == Rows::kLast && row + 1 == num_rows) return 0;
  return std::nullopt;
}

// The first row of which something is wanted besides its state; num_rows: there is none. All behind it pass
// the output head too.
std::size_t first_output(const Wanted& wanted, std::size_t num_rows) {
  if (wanted.logits == Rows::kAll || wanted.log_probs == Rows::kAll) return 0;
  const bool last =
      wanted.logits == Rows::kLast || wanted.log_probs == Rows::kLast || wanted.sample != nullptr;
  return last ? num_rows - 1 : num_rows;
}

}  // namespace

StepPlan::StepPlan(const ModelConfig& config, const CudaOptions& options, const StatePool& states)
    : config_(config), states_(states), host_(config, options) {
  places_.reserve(options.num_slots);
  results_.reserve(options.num_slots);
  output_rows_.reserve(options.max_batch_tokens);
}

void StepPlan::make(std::span<const Segment> batch, std::span<std::optional<TokenId>> last_sampled) {
  lay_out(batch);
  lay_out_results(batch);
  fill_tables(batch, last_sampled);
}

// May throw std::bad_alloc.
void StepPlan::lay_out(std::span<const Segment> batch) {
  places_.clear();
  std::size_t first_row = 0, logits = 0, targets = 0, top = 0;
  for (const Segment& segment : batch) {
    const std::size_t num_rows = segment.num_tokens();
    places_.push_back({.slot = segment.slot,
                       .end = segment.position + static_cast<std::int64_t>(num_rows),
                       .wanted = segment.wanted,
                       .first_row = first_row,
                       .num_rows = num_rows,
                       .logits = logits,
                       .targets = targets,
                       .top = top,
                       .drawer = drawer_of(segment.wanted, config_.vocab_size),
                       .draw = 0});
    first_row += num_rows;
    logits += segment.num_rows(segment.wanted.logits);
    targets += segment.wanted.targets.size();
    top += segment.num_rows(segment.wanted.log_probs) * segment.wanted.top_n;
  }
  host_.targets.grow_to(targets);
  host_.target_log_probs.grow_to(targets);
  host_.top.grow_to(top);
  top_.resize(std::max(top_.size(), top));
}

void StepPlan::lay_out_results(std::span<const Segment> batch) {
  results_.clear();
  const std::size_t V = config_.vocab_size;
  const std::size_t row_losses = config_.num_hidden_layers * config_.num_attention_heads;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const Place& place = places_[i];
    const Wanted& wanted = place.wanted;
    SegmentResult result;
    result.logits = host_.logits.span().subspan(place.logits * V, batch[i].num_rows(wanted.logits) * V);
    result.target_log_probs = host_.target_log_probs.span().subspan(place.targets, wanted.targets.size());
    result.top = std::span(top_).subspan(place.top, batch[i].num_rows(wanted.log_probs) * wanted.top_n);
    if (wanted.inner_losses) {
      result.inner_losses =
          host_.losses.span().subspan(place.first_row * row_losses, place.num_rows * row_losses);
    }
    results_.push_back(result);
  }
}

void StepPlan::fill_tables(std::span<const Segment> batch, std::span<std::optional<TokenId>> last_sampled) {
  output_rows_.clear();
  num_draws_ = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const Segment& segment = batch[i];
    const Place& place = places_[i];
    std::optional<TokenId>& last = last_sampled[static_cast<std::size_t>(segment.slot)];
    host_.segments[i] = {
        .state = states_.slot(segment.slot),
        .first_row = static_cast<std::uint32_t>(place.first_row),
        .num_rows = static_cast<std::uint32_t>(place.num_rows),
        .phase = static_cast<std::uint32_t>(phase_of(segment.position, config_.mini_batch_size)),
        .wants_losses = segment.wanted.inner_losses ? 1U : 0U};
    for (std::size_t row = 0; row < place.num_rows; ++row) {
      host_.rows[place.first_row + row] = {segment.token_from_last_sample ? *last : segment.tokens[row],
                                           static_cast<std::uint32_t>(i)};
    }
    last.reset();
    std::ranges::copy(segment.wanted.targets, host_.targets.data() + place.targets);
    add_outputs(i);
  }
}

// The rows of a segment that pass the output head, with what is wanted of each.
void StepPlan::add_outputs(std::size_t segment) {
  const Place& place = places_[segment];
  for (std::size_t row = first_output(place.wanted, place.num_rows); row < place.num_rows; ++row) {
    OutputEntry entry = log_probs_of(place, row);
    const Drawer drawer = row + 1 == place.num_rows ? place.drawer : Drawer::kNobody;
    if (drawer == Drawer::kLargest) entry.greedy = &host_.greedy[segment];
    if (drawer == Drawer::kDevice || drawer == Drawer::kHost) entry.normaliser = &host_.normalisers[segment];
    if (drawer == Drawer::kDevice) add_draw(segment, output_rows_.size());
    const bool has_small_results = drawer != Drawer::kNobody || entry.num_targets > 0 || entry.top_n > 0;
    host_.outputs[output_rows_.size()] = entry;
    output_rows_.push_back(
        {segment, index_in(place.wanted.logits, row, place.num_rows), has_small_results, drawer});
  }
}

// The entry of a segment's row with its log-probabilities; no token is drawn from it yet.
OutputEntry StepPlan::log_probs_of(const Place& place, std::size_t row) {
  const Wanted& wanted = place.wanted;
  OutputEntry entry{};
  entry.row = static_cast<std::uint32_t>(place.first_row + row);
  if (const auto index = index_in(wanted.log_probs, row, place.num_rows)) {
    const std::size_t first_target = place.targets + *index * wanted.targets_per_row;
    entry.num_targets = static_cast<std::uint32_t>(wanted.targets_per_row);
    entry.targets = host_.targets.data() + first_target;
    entry.target_log_probs = host_.target_log_probs.data() + first_target;
    entry.top_n = static_cast<std::uint32_t>(wanted.top_n);
    entry.top = host_.top.data() + place.top + *index * wanted.top_n;
  }
  return entry;
}

void StepPlan::add_draw(std::size_t segment, std::size_t output) {
  Place& place = places_[segment];
  place.draw = num_draws_++;
  const SamplingParams& params = *place.wanted.sample;
  CountEntry* const counts = host_.counts.data() + place.draw * kMostListed;
  std::int32_t* const banned = host_.banned.data() + place.draw * kMostListed;
  CountEntry* counts_end = counts;
  for (const TokenCount& count : counts_that_matter(place.wanted)) {
    *counts_end++ = {count.id, count.in_window, count.in_output};
  }
  std::int32_t* banned_end =
      std::ranges::copy(place.wanted.banned, std::ranges::copy(params.banned, banned).out).out;
  std::ranges::sort(banned, banned_end);
  banned_end = std::ranges::unique(banned, banned_end).begin();  // or two threads would write one place
  host_.draws[place.draw] = {
      .row = static_cast<std::uint32_t>(output % kHeadRows),
      .top_k = params.top_k,
      .temperature = params.temperature,
      .top_p = params.top_p,
      .min_p = params.min_p,
      .repetition_penalty = params.repetition_penalty,
      .presence_penalty = params.presence_penalty,
      .frequency_penalty = params.frequency_penalty,
      .uniform = uniform_draw(params.seed, params.prompt_index, params.choice, place.end),
      .counts = counts,
      .banned = banned,
      .num_counts = static_cast<std::uint32_t>(counts_end - counts),
      .num_banned = static_cast<std::uint32_t>(banned_end - banned),
      .drawn = &host_.drawn[place.draw]};
}

std::optional<StepShape> StepPlan::decode_shape() const {
  const bool decodes = std::ranges::all_of(
      places_, [](const Place& place) { return place.num_rows == 1 && !place.wanted.inner_losses; });
  const bool stays_on_device = std::ranges::all_of(output_rows_, [](const OutputRow& row) {
    return row.has_small_results && !row.logits_index && row.drawer != Drawer::kHost;
  });
  if (!decodes || !stays_on_device || output_rows_.size() > kHeadRows) return std::nullopt;
  return StepShape{
      .num_segments = places_.size(), .num_outputs = output_rows_.size(), .num_draws = num_draws_};
}

std::span<SegmentResult> StepPlan::results() {
  for (std::size_t i = 0; i < places_.size(); ++i) {
    for (std::size_t t = 0; t < results_[i].top.size(); ++t) {
      const TopEntry& entry = host_.top[places_[i].top + t];
      top_[places_[i].top + t] = {entry.id, entry.log_prob};
    }
  }
  return results_;
}

}  // namespace ttt::cuda
