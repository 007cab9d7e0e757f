// SPDX-License-Identifier: Apache-2.0
// Memory that the device and the host share: the tables of a step, and its results.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/cuda_backend.h"
#include "cuda/device_memory.h"
#include "cuda/drawer.h"
#include "cuda/kernels/draw.h"
#include "cuda/kernels/step_tables.h"
#include "engine/config.h"

namespace ttt::cuda {

struct HostTables {
  PinnedArray<RowEntry> rows;          // [T]
  PinnedArray<SegmentEntry> segments;  // [slots]
  PinnedArray<OutputEntry> outputs;    // [T]
  PinnedArray<TopEntry> greedy;        // [slots]
  PinnedArray<double> normalisers;     // [slots] of the rows that tokens are drawn from
  PinnedArray<DrawEntry> draws;        // [slots]
  PinnedArray<CountEntry> counts;      // [slots, kMostListed]
  PinnedArray<std::int32_t> banned;    // [slots, kMostListed]
  PinnedArray<DrawnEntry> drawn;       // [slots]
  PinnedArray<float> sampled_logits;   // [slots, V]
  PinnedArray<float> logits;           // [max_logits_rows, V]
  PinnedArray<float> losses;           // [T, L, H]
  // They grow to what was asked for and stay.
  PinnedArray<std::int32_t> targets;
  PinnedArray<float> target_log_probs;
  PinnedArray<TopEntry> top;

  HostTables(const ModelConfig& config, const CudaOptions& options)
      : rows(options.max_batch_tokens),
        segments(options.num_slots),
        outputs(options.max_batch_tokens),
        greedy(options.num_slots),
        normalisers(options.num_slots),
        draws(options.num_slots),
        counts(options.num_slots * kMostListed),
        banned(options.num_slots * kMostListed),
        drawn(options.num_slots),
        sampled_logits(options.num_slots * config.vocab_size),
        logits(options.max_logits_rows * config.vocab_size),
        losses(options.max_batch_tokens * config.num_hidden_layers * config.num_attention_heads) {}

  std::size_t bytes() const {
    return rows.size() * sizeof(RowEntry) + segments.size() * sizeof(SegmentEntry) +
           outputs.size() * sizeof(OutputEntry) + greedy.size() * sizeof(TopEntry) +
           normalisers.size() * sizeof(double) + draws.size() * sizeof(DrawEntry) +
           counts.size() * sizeof(CountEntry) + banned.size() * sizeof(std::int32_t) +
           drawn.size() * sizeof(DrawnEntry) +
           (sampled_logits.size() + logits.size() + losses.size()) * sizeof(float);
  }
};

}  // namespace ttt::cuda
