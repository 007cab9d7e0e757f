// SPDX-License-Identifier: Apache-2.0
#include "cpu/cpu_weights.h"

#include <algorithm>

#include "cpu/kernels.h"
#include "weights/element_type.h"

namespace ttt::cpu {
namespace {

using weights::TensorView;

std::vector<float> floats_of(const TensorView& tensor) {
  std::vector<float> values(tensor.bytes.size() / weights::dtype_info(tensor.dtype).block_bytes);
  if (!values.empty()) weights::to_floats(tensor.dtype, tensor.bytes, values);
  return values;
}

// [d, c] -> [c, d]: a tap's weights for all channels lie together.
std::vector<float> taps_of(const TensorView& tensor) {
  if (tensor.bytes.empty()) return {};
  const std::vector<float> by_channel = floats_of(tensor);
  const std::size_t width = tensor.shape.at(0);
  const std::size_t taps = tensor.shape.at(1);
  std::vector<float> by_tap(by_channel.size());
  for (std::size_t ch = 0; ch < width; ++ch) {
    for (std::size_t tap = 0; tap < taps; ++tap) by_tap[tap * width + ch] = by_channel[ch * taps + tap];
  }
  return by_tap;
}

// Packs one matrix after another; an absent tensor gives an absent matrix.
class Packer {
 public:
  Packer(const Model& model, ThreadPool& pool) : model_(model), pool_(pool) {}
  PackedMatrix operator()(const TensorView& tensor) const {
    if (tensor.bytes.empty()) return {};
    PackedMatrix matrix(tensor, pool_);
    if (model_.release) model_.release(tensor.bytes);
    return matrix;
  }

 private:
  const Model& model_;
  ThreadPool& pool_;
};

std::vector<float> token_eta_of(const TensorView& token_idx) {
  std::vector<float> eta = floats_of(token_idx);
  for (std::size_t i = 0; i < eta.size(); ++i)
    eta[i] = std::max(0.0F, 1.0F / static_cast<float>(i + 1) + eta[i]);
  return eta;
}

std::vector<float> initial_fast_weights(const LayerWeights& layer) {
  std::vector<float> all;
  for (const TensorView* part :
       {&layer.inner_1_weight, &layer.inner_1_bias, &layer.inner_2_weight, &layer.inner_2_bias}) {
    const std::vector<float> values = floats_of(*part);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

CpuLayerWeights prepare(const LayerWeights& layer, const Packer& packed) {
  return {
      .pre_conv_norm = floats_of(layer.pre_conv_norm),
      .pre_conv_weight = taps_of(layer.pre_conv_weight),
      .pre_conv_bias = floats_of(layer.pre_conv_bias),
      .attn_norm = floats_of(layer.attn_norm),
      .attn_q = packed(layer.attn_q),
      .attn_k = packed(layer.attn_k),
      .attn_v = packed(layer.attn_v),
      .gate = packed(layer.gate),
      .attn_output = packed(layer.attn_output),
      .conv_q_weight = taps_of(layer.conv_q_weight),
      .conv_q_bias = floats_of(layer.conv_q_bias),
      .conv_k_weight = taps_of(layer.conv_k_weight),
      .conv_k_bias = floats_of(layer.conv_k_bias),
      .lr_weight = packed(layer.lr_weight),
      .lr_bias = floats_of(layer.lr_bias),
      .token_eta = token_eta_of(layer.token_idx),
      .initial_fast_weights = initial_fast_weights(layer),
      .inner_norm_weight = floats_of(layer.inner_norm_weight),
      .inner_norm_bias = floats_of(layer.inner_norm_bias),
      .post_norm_weight = floats_of(layer.post_norm_weight),
      .post_norm_bias = floats_of(layer.post_norm_bias),
      .ffn_norm = floats_of(layer.ffn_norm),
      .ffn_gate = packed(layer.ffn_gate),
      .ffn_up = packed(layer.ffn_up),
      .ffn_down = packed(layer.ffn_down),
  };
}

std::size_t bytes_of(const CpuLayerWeights& layer) {
  std::size_t floats = 0;
  for (const auto* part :
       {&layer.pre_conv_norm, &layer.pre_conv_weight, &layer.pre_conv_bias, &layer.attn_norm,
        &layer.conv_q_weight, &layer.conv_q_bias, &layer.conv_k_weight, &layer.conv_k_bias, &layer.lr_bias,
        &layer.token_eta, &layer.initial_fast_weights, &layer.inner_norm_weight, &layer.inner_norm_bias,
        &layer.post_norm_weight, &layer.post_norm_bias, &layer.ffn_norm}) {
    floats += part->size();
  }
  std::size_t bytes = floats * sizeof(float);
  for (const auto* matrix : {&layer.attn_q, &layer.attn_k, &layer.attn_v, &layer.gate, &layer.attn_output,
                             &layer.lr_weight, &layer.ffn_gate, &layer.ffn_up, &layer.ffn_down}) {
    bytes += matrix->bytes();
  }
  return bytes;
}

}  // namespace

CpuWeights::CpuWeights(const Model& model, ThreadPool& pool)
    : config(model.config),
      output_norm(floats_of(model.output_norm)),
      rope_table(config.mini_batch_size * config.head_size()) {
  const Packer packed(model, pool);
  layers.reserve(model.layers.size());
  for (const LayerWeights& layer : model.layers) layers.push_back(prepare(layer, packed));
  output = packed(model.output);
  if (!config.tie_word_embeddings) token_embd_ = model.token_embd;
  make_rope_table(config.mini_batch_size, config.head_size(), config.rope_theta, rope_table);
  bytes = (output_norm.size() + rope_table.size()) * sizeof(float) + output.bytes();
  for (const CpuLayerWeights& layer : layers) bytes += bytes_of(layer);
}

std::uint64_t CpuWeights::planned_bytes(const Model& model) {
  const ModelConfig& c = model.config;
  std::uint64_t bytes = c.mini_batch_size * c.head_size() * sizeof(float);  // the table of rotations
  for (const NamedTensor& tensor : list_tensors(model)) {
    const bool is_lr = tensor.view.name.ends_with("ttt_lr.weight");
    if (tensor.view.name == "token_embd.weight" && !c.tie_word_embeddings) continue;  // stays in the file
    if (tensor.is_matrix || is_lr) {
      bytes += PackedMatrix::planned_bytes(tensor.view);
    } else {
      bytes += *weights::num_elements(tensor.view.shape) * sizeof(float);
    }
  }
  return bytes;
}

void CpuWeights::read_embedding(TokenId id, float* to) const {
  const auto row = static_cast<std::size_t>(id);
  if (token_embd_.bytes.empty()) return output.read_output(row, to);
  const std::size_t row_bytes = token_embd_.bytes.size() / config.vocab_size;
  weights::to_floats(token_embd_.dtype, token_embd_.bytes.subspan(row * row_bytes, row_bytes),
                     {to, config.hidden_size});
}

}  // namespace ttt::cpu
