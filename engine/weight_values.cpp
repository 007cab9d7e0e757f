// SPDX-License-Identifier: Apache-2.0
#include "engine/weight_values.h"

#include <algorithm>
#include <cmath>

#include "engine/tensor_pieces.h"
#include "weights/element_type.h"

namespace ttt {

std::vector<float> floats_of(const Model& model, const weights::TensorView& tensor) {
  if (tensor.bytes.empty()) return {};
  std::vector<std::byte> fetched;
  const weights::TensorView whole = with_bytes(model, tensor, fetched);
  const weights::DTypeInfo& info = weights::dtype_info(tensor.dtype);
  std::vector<float> values(whole.bytes.size() / info.block_bytes * info.block_elements);
  weights::to_floats(whole.dtype, whole.bytes, values);
  return values;
}

std::vector<float> conv_taps(const Model& model, const weights::TensorView& weight) {
  if (weight.bytes.empty()) return {};
  const std::vector<float> by_channel = floats_of(model, weight);
  const std::size_t width = weight.shape.at(0);
  const std::size_t taps = weight.shape.at(1);
  std::vector<float> by_tap(by_channel.size());
  for (std::size_t ch = 0; ch < width; ++ch) {
    for (std::size_t tap = 0; tap < taps; ++tap) by_tap[tap * width + ch] = by_channel[ch * taps + tap];
  }
  return by_tap;
}

std::vector<float> token_eta(const Model& model, const LayerWeights& layer) {
  std::vector<float> eta = floats_of(model, layer.token_idx);
  for (std::size_t i = 0; i < eta.size(); ++i)
    eta[i] = std::max(0.0F, 1.0F / static_cast<float>(i + 1) + eta[i]);
  return eta;
}

std::vector<float> initial_fast_weights(const Model& model, const LayerWeights& layer) {
  std::vector<float> all;
  for (const weights::TensorView* part :
       {&layer.inner_1_weight, &layer.inner_1_bias, &layer.inner_2_weight, &layer.inner_2_bias}) {
    const std::vector<float> values = floats_of(model, *part);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

std::vector<float> make_rope_table(std::size_t mini_batch_size, std::size_t head_size, double theta) {
  std::vector<float> table(mini_batch_size * head_size);
  for (std::size_t phase = 0; phase < mini_batch_size; ++phase) {
    for (std::size_t pair = 0; pair < head_size / 2; ++pair) {
      const double exponent = -2.0 * static_cast<double>(pair) / static_cast<double>(head_size);
      const double angle = static_cast<double>(phase) * std::pow(theta, exponent);
      table[phase * head_size + 2 * pair] = static_cast<float>(std::cos(angle));
      table[phase * head_size + 2 * pair + 1] = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

}  // namespace ttt
