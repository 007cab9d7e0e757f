// SPDX-License-Identifier: Apache-2.0
// What a step tells its kernels about the batch: arrays in device memory, filled once per step. Plain C++,
// read by host and device.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ttt::cuda {

// Consecutive tokens of one sequence.
struct SegmentEntry {
  float* state;             // of its slot; layers and parts lie at offsets that are equal in all slots
  std::uint32_t first_row;  // of its rows in the batch
  std::uint32_t num_rows;
  std::uint32_t phase;         // open rows before the segment, p
  std::uint32_t wants_losses;  // 0 or 1
};

// One token.
struct RowEntry {
  std::int32_t token;
  std::uint32_t segment;
};

struct TopEntry {
  std::int32_t id;
  float log_prob;
};

// A row of which something is wanted besides its state. Results go straight to pinned host memory: they are
// few.
struct OutputEntry {
  std::uint32_t row;  // in the batch
  std::uint32_t num_targets;
  const std::int32_t* targets;  // [num_targets]
  float* target_log_probs;      // [num_targets]
  TopEntry* top;                // [top_n]
  TopEntry* greedy;             // the most probable token; null: not wanted
  double* normaliser;           // log_sum_exp of the row's logits; null: not wanted
  std::uint32_t top_n;
};

}  // namespace ttt::cuda
