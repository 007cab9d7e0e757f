// SPDX-License-Identifier: Apache-2.0
// Where mini-batches begin and end. A position is the number of tokens a sequence has read; its phase
// is the number of tokens in the open mini-batch. Pure arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ttt {

inline std::size_t phase_of(std::int64_t position, std::size_t mini_batch_size) {
  return static_cast<std::size_t>(position) % mini_batch_size;
}

// True if dropping the tokens from `to` up to `from` stays inside one open mini-batch.
inline bool same_mini_batch(std::int64_t from, std::int64_t to, std::size_t mini_batch_size) {
  const auto size = static_cast<std::int64_t>(mini_batch_size);
  return to >= 0 && to <= from && from / size == to / size;
}

}  // namespace ttt
