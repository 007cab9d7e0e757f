// SPDX-License-Identifier: Apache-2.0
// The states of all slots, in one allocation. A slot is laid out like the canonical form of
// engine/state_layout.h, each part with room for its longest extent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cpu/aligned_floats.h"
#include "cpu/cpu_weights.h"
#include "engine/batch.h"
#include "engine/config.h"

namespace ttt::cpu {

// One layer of one slot.
struct LayerState {
  float* pre_conv = nullptr;      // [c-1+K-1, d] (pre_conv); the first c-1+p rows are valid
  float* qk_conv = nullptr;       // [c-1+K-1, d] (share_qk)
  float* fast_weights = nullptr;  // W1 [H, f, m'], b1 [H, m'], W2 [H, m', f], b2 [H, f]
  float* open_rows = nullptr;     // [K][open_row_floats]; the first p rows are valid
};

class StatePool {
 public:
  StatePool(const ModelConfig& config, std::size_t num_slots);

  LayerState layer(SlotId slot, std::size_t layer);
  std::size_t slot_bytes() const { return slot_floats_ * sizeof(float); }
  static std::size_t slot_bytes(const ModelConfig& config) { return StatePool(config, 0).slot_bytes(); }

  void reset(SlotId slot, const CpuWeights& weights);
  void copy(SlotId from, SlotId to);
  void save(SlotId slot, std::int64_t position, std::span<std::byte> bytes) const;
  void load(SlotId slot, std::int64_t position, std::span<const std::byte> bytes);

 private:
  // Calls fn(offset, floats) for every valid part of the slot in canonical order; the offset counts
  // floats from the beginning of floats_.
  template <typename Fn>
  void for_each_part(SlotId slot, std::int64_t position, Fn&& fn) const;
  std::size_t num_convs() const { return (config_.pre_conv ? 1U : 0U) + (config_.share_qk ? 1U : 0U); }

  ModelConfig config_;
  std::size_t conv_floats_;  // of one convolution's inputs, at their longest
  std::size_t layer_floats_;
  std::size_t slot_floats_;
  AlignedFloats floats_;
};

}  // namespace ttt::cpu
