// SPDX-License-Identifier: Apache-2.0
#include "cpu/state_pool.h"

#include <algorithm>
#include <cstring>

#include "engine/mini_batch.h"
#include "engine/state_layout.h"

namespace ttt::cpu {

StatePool::StatePool(const ModelConfig& config, std::size_t num_slots)
    : config_(config),
      conv_floats_((config.conv_kernel - 1 + config.mini_batch_size - 1) * config.hidden_size),
      layer_floats_(num_convs() * conv_floats_ + fast_weight_floats(config) +
                    config.mini_batch_size * open_row_floats(config)),
      slot_floats_(config.num_hidden_layers * layer_floats_),
      floats_(num_slots * slot_floats_) {}

LayerState StatePool::layer(SlotId slot, std::size_t layer) {
  float* at = floats_.data() + static_cast<std::size_t>(slot) * slot_floats_ + layer * layer_floats_;
  LayerState state;
  if (config_.pre_conv) {
    state.pre_conv = at;
    at += conv_floats_;
  }
  if (config_.share_qk) {
    state.qk_conv = at;
    at += conv_floats_;
  }
  state.fast_weights = at;
  state.open_rows = at + fast_weight_floats(config_);
  return state;
}

void StatePool::reset(SlotId slot, const CpuWeights& weights) {
  const std::size_t history = (config_.conv_kernel - 1) * config_.hidden_size;
  for (std::size_t l = 0; l < config_.num_hidden_layers; ++l) {
    const LayerState state = layer(slot, l);
    if (state.pre_conv != nullptr) std::fill_n(state.pre_conv, history, 0.0F);
    if (state.qk_conv != nullptr) std::fill_n(state.qk_conv, history, 0.0F);
    std::ranges::copy(weights.layers[l].initial_fast_weights, state.fast_weights);
  }
}

void StatePool::copy(SlotId from, SlotId to) {
  const float* source = floats_.data() + static_cast<std::size_t>(from) * slot_floats_;
  float* target = floats_.data() + static_cast<std::size_t>(to) * slot_floats_;
  if (source != target) std::copy_n(source, slot_floats_, target);
}

template <typename Fn>
void StatePool::for_each_part(SlotId slot, std::int64_t position, Fn&& fn) const {
  const std::size_t open = phase_of(position, config_.mini_batch_size);
  const std::size_t conv_rows = config_.conv_kernel - 1 + open;
  for (std::size_t l = 0; l < config_.num_hidden_layers; ++l) {
    std::size_t offset = static_cast<std::size_t>(slot) * slot_floats_ + l * layer_floats_;
    for (std::size_t conv = 0; conv < num_convs(); ++conv, offset += conv_floats_) {
      fn(offset, conv_rows * config_.hidden_size);
    }
    fn(offset, fast_weight_floats(config_));
    fn(offset + fast_weight_floats(config_), open * open_row_floats(config_));
  }
}

void StatePool::save(SlotId slot, std::int64_t position, std::span<std::byte> bytes) const {
  std::byte* out = bytes.data();
  for_each_part(slot, position, [&](std::size_t offset, std::size_t floats) {
    std::memcpy(out, floats_.data() + offset, floats * sizeof(float));
    out += floats * sizeof(float);
  });
}

void StatePool::load(SlotId slot, std::int64_t position, std::span<const std::byte> bytes) {
  const std::byte* in = bytes.data();
  for_each_part(slot, position, [&](std::size_t offset, std::size_t floats) {
    std::memcpy(floats_.data() + offset, in, floats * sizeof(float));
    in += floats * sizeof(float);
  });
}

}  // namespace ttt::cpu
