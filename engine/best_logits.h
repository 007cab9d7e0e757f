// SPDX-License-Identifier: Apache-2.0
// Passes over a row of logits: the largest, those above a bound, the best few. Written so that a compiler
// vectorises what most logits go through, a comparison.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>

#include "tokenizer/tokenizer.h"

namespace ttt {

using tokenizer::TokenId;

inline constexpr std::size_t kLogitBlock = 16;  // logits looked at together: four 128-bit vectors

// NaN is passed over; minus infinity where nothing else is there.
float largest_logit(std::span<const float> logits);

// The lowest id of a logit above the bound; the number of logits where there is none.
std::size_t first_logit_above(std::span<const float> logits, float bound);

// The nearest finite number; NaN becomes the lowest.
inline float finite(float logit) {
  constexpr float kLowest = std::numeric_limits<float>::lowest();
  constexpr float kHighest = std::numeric_limits<float>::max();
  const float raised = logit > kLowest ? logit : kLowest;
  return raised < kHighest ? raised : kHighest;
}

// to [logits.size()] = finite(logits)
void copy_finite(std::span<const float> logits, float* to);

// fn(id, logit) -> bound for each logit above the bound, in order of ids; it may raise the bound.
template <typename Fn>
void for_each_above(std::span<const float> logits, std::size_t first, float bound, Fn&& fn) {
  std::size_t id = first;
  const auto visit = [&] {
    if (logits[id] > bound) bound = fn(id, logits[id]);
  };
  while (id + kLogitBlock <= logits.size()) {
    const float* block = logits.data() + id;
    int above = 0;
    for (std::size_t j = 0; j < kLogitBlock; ++j) above |= block[j] > bound ? 1 : 0;
    if (above == 0) {
      id += kLogitBlock;
      continue;
    }
    for (const std::size_t end = id + kLogitBlock; id < end; ++id) visit();
  }
  for (; id < logits.size(); ++id) visit();
}

// The out.size() largest logits, best first, ties to the lowest id, NaN counting as minus infinity. kLogit:
// the member of Entry that takes the logit; its other member is `id`. REQUIRES: out.size() <= logits.size().
template <auto kLogit, typename Entry>
void select_best(std::span<const float> logits, std::span<Entry> out) {
  if (out.empty()) return;
  const auto is_better = [](const Entry& a, const Entry& b) {
    return a.*kLogit != b.*kLogit ? a.*kLogit > b.*kLogit : a.id < b.id;
  };
  const auto put = [](Entry& place, std::size_t id, float logit) {
    place.id = static_cast<TokenId>(id);
    place.*kLogit = logit == logit ? logit : -std::numeric_limits<float>::infinity();
  };
  for (std::size_t id = 0; id < out.size(); ++id) put(out[id], id, logits[id]);
  std::ranges::make_heap(out, is_better);  // the worst in front
  for_each_above(logits, out.size(), out.front().*kLogit, [&](std::size_t id, float logit) {
    std::ranges::pop_heap(out, is_better);
    put(out.back(), id, logit);
    std::ranges::push_heap(out, is_better);
    return out.front().*kLogit;
  });
  std::ranges::sort_heap(out, is_better);
}

}  // namespace ttt
