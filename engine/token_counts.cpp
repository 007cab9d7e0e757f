// SPDX-License-Identifier: Apache-2.0
#include "engine/token_counts.h"

#include <stdexcept>
#include <utility>

namespace ttt {

TokenCounts::TokenCounts(std::int32_t repeat_last_n) : repeat_last_n_(repeat_last_n) {
  if (repeat_last_n < -1) throw std::logic_error("TokenCounts: repeat_last_n is below -1");
}

TokenCount& TokenCounts::entry(TokenId id) {
  std::uint32_t& place = places_[static_cast<std::size_t>(id)];
  if (place == 0) {
    counts_.push_back({id, 0, 0});
    place = static_cast<std::uint32_t>(counts_.size());
  }
  return counts_[place - 1];
}

void TokenCounts::leave_window(TokenId id) {
  TokenCount& left = entry(id);
  if (--left.in_window > 0 || left.in_output > 0) return;
  // The last entry takes its place.
  const std::uint32_t place = std::exchange(places_[static_cast<std::size_t>(id)], 0);
  if (place != counts_.size()) {
    left = counts_.back();
    places_[static_cast<std::size_t>(left.id)] = place;
  }
  counts_.pop_back();
}

void TokenCounts::push(TokenId id, bool is_output) {
  if (id < 0) throw std::logic_error("TokenCounts: an id below 0");
  const std::size_t needed = static_cast<std::size_t>(id) + 1;
  if (needed > places_.size()) places_.resize(needed);
  if (is_output) ++entry(id).in_output;
  if (repeat_last_n_ == 0) return;
  ++entry(id).in_window;
  if (repeat_last_n_ < 0) return;
  if (std::cmp_less(window_.size(), repeat_last_n_)) {
    window_.push_back(id);
    return;
  }
  leave_window(std::exchange(window_[oldest_], id));
  oldest_ = (oldest_ + 1) % window_.size();
}

}  // namespace ttt
