// SPDX-License-Identifier: Apache-2.0
#include "engine/plan_step.h"

#include <algorithm>

#include "engine/mini_batch.h"

namespace ttt {
namespace {

// The largest part of at most `tokens` that ends with a mini-batch or with the prompt; `tokens` itself where
// no mini-batch ends within.
std::size_t aligned_part(const SequenceLoad& load, std::size_t tokens, std::size_t mini_batch_size) {
  if (tokens >= load.prompt_left) return load.prompt_left;
  const std::size_t beyond = phase_of(load.position + static_cast<std::int64_t>(tokens), mini_batch_size);
  return tokens > beyond ? tokens - beyond : tokens;
}

// Shares `room` among the prompts in plan[begin, end): from the shortest to the longest each takes its equal
// share of what is left, or less if it needs less.
void share_room(std::span<const SequenceLoad> loads, std::size_t room, std::size_t mini_batch_size,
                std::span<PlannedSegment> prompts) {
  std::ranges::stable_sort(prompts, {},
                           [&](const PlannedSegment& p) { return loads[p.sequence].prompt_left; });
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const std::size_t share = room / (prompts.size() - i);
    prompts[i].num_tokens = aligned_part(loads[prompts[i].sequence], share, mini_batch_size);
    room -= prompts[i].num_tokens;
  }
}

// Where some prompts end and others go on, these are cut to what prefill_beside_decode leaves them, so that
// the first tokens of those come sooner: with 128 of 512, a short prompt that meets a long one has its first
// token after 1.25 steps at most instead of 2.
void hurry_endings(std::span<const SequenceLoad> loads, const StepBudget& budget,
                   std::span<PlannedSegment> prompts) {
  const auto going_on = std::ranges::stable_partition(
      prompts, [&](const PlannedSegment& p) { return p.num_tokens == loads[p.sequence].prompt_left; });
  if (going_on.empty() || going_on.size() == prompts.size()) return;
  std::size_t ending = 0;  // tokens
  std::size_t rest = 0;
  for (const PlannedSegment& prompt : prompts) ending += prompt.num_tokens;
  for (const PlannedSegment& prompt : going_on) rest += prompt.num_tokens;
  ending -= rest;
  const std::size_t left = std::max(budget.prefill_beside_decode, ending) - ending;
  rest = std::min(rest, std::max(left, budget.mini_batch_size * going_on.size()));
  share_room(loads, rest, budget.mini_batch_size, std::span(going_on));
}

// The `count` sequences for which `is_kind` holds that waited longest, at the end of `plan`.
template <typename IsKind>
void take_longest_waiting(std::span<const SequenceLoad> loads, std::size_t count, IsKind is_kind,
                          std::vector<PlannedSegment>& plan) {
  const std::size_t begin = plan.size();
  for (std::size_t i = 0; i < loads.size(); ++i) {
    if (is_kind(loads[i])) plan.push_back({i, 1});
  }
  if (plan.size() - begin <= count) return;
  std::ranges::stable_sort(plan.begin() + static_cast<std::ptrdiff_t>(begin), plan.end(), {},
                           [&](const PlannedSegment& p) { return loads[p.sequence].last_step; });
  plan.resize(begin + count);
}

}  // namespace

void plan_step(std::span<const SequenceLoad> loads, const StepBudget& budget,
               std::vector<PlannedSegment>& plan) {
  plan.clear();
  const auto decodes = [](const SequenceLoad& load) { return load.prompt_left == 0; };
  const auto reads_prompt = [](const SequenceLoad& load) { return load.prompt_left > 0; };
  const bool any_prompt = std::ranges::any_of(loads, reads_prompt);

  const std::size_t reserve = std::min(budget.mini_batch_size, std::max<std::size_t>(1, budget.tokens / 4));
  const std::size_t decode_room = budget.tokens - (any_prompt ? std::min(reserve, budget.tokens) : 0);
  take_longest_waiting(loads, decode_room, decodes, plan);
  if (!any_prompt) return;

  const std::size_t num_decoding = plan.size();
  std::size_t room = budget.tokens - num_decoding;
  if (num_decoding > 0) room = std::min(room, std::max<std::size_t>(1, budget.prefill_beside_decode));
  const std::size_t most_prompts = std::max<std::size_t>(1, room / budget.mini_batch_size);
  take_longest_waiting(loads, most_prompts, reads_prompt, plan);
  const std::span<PlannedSegment> prompts = std::span(plan).subspan(num_decoding);
  share_room(loads, room, budget.mini_batch_size, prompts);
  if (num_decoding == 0) hurry_endings(loads, budget, prompts);
}

}  // namespace ttt
