// SPDX-License-Identifier: Apache-2.0
// The states of all slots in device memory, fp32. A slot is laid out like the canonical form of
// engine/state_layout.h, each part with room for its longest extent.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "cuda/device_memory.h"
#include "engine/batch.h"
#include "engine/config.h"

namespace ttt::cuda {

// Where the parts of one layer lie in a slot, in floats.
struct StateOffsets {
  std::size_t pre_conv = 0;      // [c-1+K-1, d] (pre_conv); the first c-1+p rows are valid
  std::size_t qk_conv = 0;       // [c-1+K-1, d] (share_qk)
  std::size_t fast_weights = 0;  // W1 [H, f, m'], b1 [H, m'], W2 [H, m', f], b2 [H, f]
  std::size_t open_rows = 0;     // [K][open_row_floats]; the first p rows are valid
};

class StatePool {
 public:
  StatePool(const ModelConfig& config, std::size_t num_slots, DeviceArena& arena);

  float* slot(SlotId slot) const { return floats_ + static_cast<std::size_t>(slot) * slot_floats_; }
  StateOffsets layer(std::size_t layer) const;
  std::size_t slot_bytes() const { return slot_floats_ * sizeof(float); }

  // All are put on the stream.
  void copy(SlotId from, SlotId to, cudaStream_t stream) const;
  // Between a slot and the canonical form, in host or device memory.
  void save(SlotId slot, std::int64_t position, std::byte* to, cudaStream_t stream) const;
  void load(SlotId slot, std::int64_t position, const void* from, cudaStream_t stream) const;

 private:
  // Calls fn(offset in a slot's layer, offset in the canonical form's layer, floats) for every valid part.
  template <typename Fn>
  void for_each_part(std::int64_t position, Fn&& fn) const;
  std::size_t num_convs() const { return (config_.pre_conv ? 1U : 0U) + (config_.share_qk ? 1U : 0U); }

  ModelConfig config_;
  std::size_t conv_floats_;  // of one convolution's inputs, at their longest
  std::size_t layer_floats_;
  std::size_t slot_floats_;
  float* floats_;
};

}  // namespace ttt::cuda
