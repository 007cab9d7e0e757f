// SPDX-License-Identifier: Apache-2.0
#include "engine/state_layout.h"

#include <fmt/format.h>

#include <utility>

#include "engine/mini_batch.h"

namespace ttt {
namespace {

std::size_t conv_rows(const ModelConfig& config, std::int64_t position) {
  return config.conv_kernel - 1 + phase_of(position, config.mini_batch_size);
}

}  // namespace

std::size_t open_row_floats(const ModelConfig& config) {
  const std::size_t per_head = config.head_size() + config.inner_size();
  return config.num_attention_heads * (config.is_mlp() ? 2 * per_head : per_head);
}

std::size_t fast_weight_floats(const ModelConfig& config) {
  const std::size_t f = config.head_size();
  const std::size_t inner = config.inner_size();
  const std::size_t first = f * inner + inner;
  const std::size_t second = config.is_mlp() ? inner * f + f : 0;
  return config.num_attention_heads * (first + second);
}

std::size_t layer_state_floats(const ModelConfig& config, std::int64_t position) {
  const std::size_t num_convs = (config.pre_conv ? 1U : 0U) + (config.share_qk ? 1U : 0U);
  return num_convs * conv_rows(config, position) * config.hidden_size + fast_weight_floats(config) +
         phase_of(position, config.mini_batch_size) * open_row_floats(config);
}

std::size_t state_bytes(const ModelConfig& config, std::int64_t position) {
  return config.num_hidden_layers * layer_state_floats(config, position) * sizeof(float);
}

std::size_t max_state_bytes(const ModelConfig& config) {
  return state_bytes(config, static_cast<std::int64_t>(config.mini_batch_size) - 1);
}

std::vector<StateTensor> list_state(const ModelConfig& config, std::int64_t position) {
  const std::size_t heads = config.num_attention_heads;
  const std::size_t f = config.head_size();
  const std::size_t inner = config.inner_size();
  const std::size_t open = phase_of(position, config.mini_batch_size);
  std::vector<StateTensor> list;
  std::size_t offset = 0;
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const auto add = [&](std::string_view name, std::vector<std::size_t> shape) {
      std::size_t row = 1;
      for (std::size_t axis = 1; axis < shape.size(); ++axis) row *= shape[axis];
      const std::size_t size = shape[0] * row;
      list.push_back({fmt::format("blk.{}.{}", layer, name), offset, std::move(shape), row});
      offset += size;
    };
    if (config.pre_conv) add("pre_conv", {conv_rows(config, position), config.hidden_size});
    if (config.share_qk) add("qk_conv", {conv_rows(config, position), config.hidden_size});
    add("W1", {heads, f, inner});
    add("b1", {heads, inner});
    if (config.is_mlp()) {
      add("W2", {heads, inner, f});
      add("b2", {heads, f});
    }
    // Open rows interleave: all parts of one token, then the next token.
    const std::size_t stride = open_row_floats(config);
    std::size_t part = offset;
    const auto add_open = [&](std::string_view name, std::size_t width) {
      list.push_back({fmt::format("blk.{}.open.{}", layer, name), part, {open, heads, width}, stride});
      part += heads * width;
    };
    add_open("key", f);
    if (config.is_mlp()) add_open("hidden", inner);
    add_open("gradient_1", inner);
    if (config.is_mlp()) add_open("gradient_2", f);
    offset += open * stride;
  }
  return list;
}

}  // namespace ttt
