// SPDX-License-Identifier: Apache-2.0
#include "cuda/state_pool.h"

#include "engine/mini_batch.h"
#include "engine/state_layout.h"

namespace ttt::cuda {

StatePool::StatePool(const ModelConfig& config, std::size_t num_slots, DeviceArena& arena)
    : config_(config),
      conv_floats_((config.conv_kernel - 1 + config.mini_batch_size - 1) * config.hidden_size),
      layer_floats_(num_convs() * conv_floats_ + fast_weight_floats(config) +
                    config.mini_batch_size * open_row_floats(config)),
      slot_floats_(config.num_hidden_layers * layer_floats_),
      floats_(arena.take<float>(num_slots * slot_floats_)) {}

StateOffsets StatePool::layer(std::size_t layer) const {
  StateOffsets offsets;
  std::size_t at = layer * layer_floats_;
  if (config_.pre_conv) {
    offsets.pre_conv = at;
    at += conv_floats_;
  }
  if (config_.share_qk) {
    offsets.qk_conv = at;
    at += conv_floats_;
  }
  offsets.fast_weights = at;
  offsets.open_rows = at + fast_weight_floats(config_);
  return offsets;
}

void StatePool::copy(SlotId from, SlotId to, cudaStream_t stream) const {
  if (from == to) return;
  check(cudaMemcpyAsync(slot(to), slot(from), slot_bytes(), cudaMemcpyDeviceToDevice, stream),
        "copying a state");
}

template <typename Fn>
void StatePool::for_each_part(std::int64_t position, Fn&& fn) const {
  const std::size_t open = phase_of(position, config_.mini_batch_size);
  std::size_t offset = 0, canonical = 0;
  const auto part = [&](std::size_t floats, std::size_t room) {
    if (floats > 0) fn(offset, canonical, floats);
    offset += room;
    canonical += floats;
  };
  for (std::size_t conv = 0; conv < num_convs(); ++conv) {
    part((config_.conv_kernel - 1 + open) * config_.hidden_size, conv_floats_);
  }
  part(fast_weight_floats(config_), fast_weight_floats(config_));
  part(open * open_row_floats(config_), config_.mini_batch_size * open_row_floats(config_));
}

// A part has equal extents in all layers: one copy of a rectangle, a row per layer.
void StatePool::save(SlotId slot, std::int64_t position, std::byte* to, cudaStream_t stream) const {
  const std::size_t pitch = layer_state_floats(config_, position) * sizeof(float);
  for_each_part(position, [&](std::size_t offset, std::size_t canonical, std::size_t floats) {
    check(cudaMemcpy2DAsync(to + canonical * sizeof(float), pitch, this->slot(slot) + offset,
                            layer_floats_ * sizeof(float), floats * sizeof(float), config_.num_hidden_layers,
                            cudaMemcpyDeviceToHost, stream),
          "saving a state");
  });
}

void StatePool::load(SlotId slot, std::int64_t position, const void* from, cudaStream_t stream) const {
  const std::size_t pitch = layer_state_floats(config_, position) * sizeof(float);
  for_each_part(position, [&](std::size_t offset, std::size_t canonical, std::size_t floats) {
    check(cudaMemcpy2DAsync(this->slot(slot) + offset, layer_floats_ * sizeof(float),
                            static_cast<const std::byte*>(from) + canonical * sizeof(float), pitch,
                            floats * sizeof(float), config_.num_hidden_layers, cudaMemcpyDefault, stream),
          "loading a state");
  });
}

}  // namespace ttt::cuda
