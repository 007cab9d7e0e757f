// SPDX-License-Identifier: Apache-2.0
// Where mini-batches begin and end. A position is the number of tokens a sequence has read; its phase
// is the number of tokens in the open mini-batch. Pure arithmetic.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace ttt {

inline std::size_t phase_of(std::int64_t position, std::size_t mini_batch_size) {
  return static_cast<std::size_t>(position) % mini_batch_size;
}

// Consecutive rows of a segment that lie in one mini-batch.
struct MiniBatchPiece {
  std::size_t first_row = 0;  // within the segment
  std::size_t num_rows = 0;
  std::size_t phase = 0;  // of the first row
  bool commits = false;   // its last row closes the mini-batch
};

// Calls fn(MiniBatchPiece) for each piece of `num_rows` tokens that begin at `position`, in order.
template <typename Fn>
void for_each_piece(std::int64_t position, std::size_t num_rows, std::size_t mini_batch_size, Fn&& fn) {
  for (std::size_t row = 0; row < num_rows;) {
    const std::size_t phase = phase_of(position + static_cast<std::int64_t>(row), mini_batch_size);
    const std::size_t count = std::min(num_rows - row, mini_batch_size - phase);
    fn(MiniBatchPiece{row, count, phase, phase + count == mini_batch_size});
    row += count;
  }
}

// True if dropping the tokens from `to` up to `from` stays inside one open mini-batch.
inline bool same_mini_batch(std::int64_t from, std::int64_t to, std::size_t mini_batch_size) {
  const auto size = static_cast<std::int64_t>(mini_batch_size);
  return to >= 0 && to <= from && from / size == to / size;
}

}  // namespace ttt
