// SPDX-License-Identifier: Apache-2.0
#include "engine/step_cost.h"

#include "engine/state_layout.h"

namespace ttt {

std::uint64_t matrix_bytes(const Model& model, bool fp32_as_half) {
  std::uint64_t bytes = 0;
  for (const NamedTensor& tensor : list_tensors(model)) {
    const bool is_embedding = tensor.view.bytes.data() == model.token_embd.bytes.data();
    if (tensor.is_matrix && !(is_embedding && !model.config.tie_word_embeddings)) {
      const bool is_halved = fp32_as_half && tensor.view.dtype == weights::DType::kF32;
      bytes += tensor.view.bytes.size() / (is_halved ? 2 : 1);
    }
  }
  return bytes;
}

double state_traffic_bytes(const ModelConfig& config) {
  const auto mini_batch = static_cast<double>(config.mini_batch_size);
  const double fast_weights = static_cast<double>(fast_weight_floats(config)) * (1.0 + 2.0 / mini_batch);
  const double open_rows = static_cast<double>(open_row_floats(config)) * ((mini_batch - 1.0) / 2.0 + 1.0);
  const double num_convs = (config.pre_conv ? 1.0 : 0.0) + (config.share_qk ? 1.0 : 0.0);
  const double conv_rows = num_convs * static_cast<double>(config.conv_kernel * config.hidden_size);
  return (fast_weights + open_rows + conv_rows) * static_cast<double>(config.num_hidden_layers) *
         sizeof(float);
}

TokenFlops token_flops(const ModelConfig& config) {
  const auto d = static_cast<double>(config.hidden_size);
  const auto m = static_cast<double>(config.intermediate_size);
  const auto layers = static_cast<double>(config.num_hidden_layers);
  const double square_matrices = 3.0 + (config.share_qk ? 0.0 : 1.0) + (config.use_gate ? 1.0 : 0.0);
  const double products = 2.0 * (square_matrices * d * d + 3.0 * d * m);

  // Per head, f its size, w its inner width, j = (K + 1)/2 rows of the mini-batch seen on average.
  const auto f = static_cast<double>(config.head_size());
  const auto w = static_cast<double>(config.inner_size());
  const double j = (static_cast<double>(config.mini_batch_size) + 1.0) / 2.0;
  const double layer_1 = 3.0 * 2.0 * f * w + 2.0 * j * (f + w);  // key, query, commit; scores, corrections
  // The same for W2, and the gradient through it.
  const double layer_2 = config.is_mlp() ? 3.0 * 2.0 * w * f + 2.0 * f * w + 2.0 * j * (w + f) : 0.0;
  const auto heads = static_cast<double>(config.num_attention_heads);
  return {.products = products * layers, .inner_loop = (layer_1 + layer_2) * heads * layers};
}

}  // namespace ttt
