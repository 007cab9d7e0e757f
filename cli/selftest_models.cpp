// SPDX-License-Identifier: Apache-2.0
#include "cli/selftest_models.h"

#include <cmath>
#include <utility>

#include "weights/element_type.h"

namespace ttt::cli {
namespace {

using weights::DType;
using weights::Shape;
using weights::TensorView;

// Draws the tensors of a model one after another.
class Filler {
 public:
  Filler(RandomModel& target, DType matrix_type, std::uint64_t seed)
      : target_(target), matrix_type_(matrix_type), random_(seed) {}

  void matrix(TensorView& view, std::uint64_t out, std::uint64_t in) {
    fill(view, {out, in}, matrix_type_, 0.0, 1.0 / std::sqrt(static_cast<double>(in)));
  }
  void vector(TensorView& view, Shape shape, double center, double spread) {
    fill(view, std::move(shape), DType::kF32, center, spread);
  }
  // The middle place of a mini-batch is clamped to a rate of 0, the others stay above it.
  void token_idx(TensorView& view, std::size_t mini_batch_size) {
    std::vector<float> values(mini_batch_size);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>(0.4 / static_cast<double>(i + 1) * random_.symmetric());
    }
    values[mini_batch_size / 2] = -1.5F;
    store(view, {mini_batch_size}, DType::kF32, values);
  }

 private:
  void fill(TensorView& view, Shape shape, DType dtype, double center, double spread) {
    std::vector<float> values(*weights::num_elements(shape));
    for (float& value : values) value = static_cast<float>(center + spread * random_.symmetric());
    store(view, std::move(shape), dtype, values);
  }
  void store(TensorView& view, Shape shape, DType dtype, const std::vector<float>& values) {
    std::vector<std::byte>& bytes =
        target_.bytes.emplace_back(*weights::tensor_bytes(dtype, {values.size()}));
    weights::from_floats(dtype, values, bytes);
    view.dtype = dtype;
    view.shape = std::move(shape);
    view.bytes = bytes;
  }

  RandomModel& target_;
  DType matrix_type_;
  RandomNumbers random_;
};

LayerWeights draw_layer(Filler& filler, const ModelConfig& config) {
  const std::uint64_t d = config.hidden_size, m = config.intermediate_size, c = config.conv_kernel;
  const std::uint64_t H = config.num_attention_heads, f = config.head_size(), inner = config.inner_size();
  constexpr double kGain = 1.0, kGainSpread = 0.11, kBiasSpread = 0.1, kTapSpread = 0.5, kInnerSpread = 0.2;
  LayerWeights layer;
  if (config.pre_conv) {
    filler.vector(layer.pre_conv_norm, {d}, kGain, kGainSpread);
    filler.vector(layer.pre_conv_weight, {d, c}, 0.0, kTapSpread);
    filler.vector(layer.pre_conv_bias, {d}, 0.0, kBiasSpread);
  }
  filler.vector(layer.attn_norm, {d}, kGain, kGainSpread);
  filler.matrix(layer.attn_q, d, d);
  filler.matrix(layer.attn_v, d, d);
  filler.matrix(layer.attn_output, d, d);
  if (config.use_gate) filler.matrix(layer.gate, d, d);
  if (config.share_qk) {
    filler.vector(layer.conv_q_weight, {d, c}, 0.0, kTapSpread);
    filler.vector(layer.conv_q_bias, {d}, 0.0, kBiasSpread);
    filler.vector(layer.conv_k_weight, {d, c}, 0.0, kTapSpread);
    filler.vector(layer.conv_k_bias, {d}, 0.0, kBiasSpread);
  } else {
    filler.matrix(layer.attn_k, d, d);
  }
  filler.vector(layer.lr_weight, {H, d}, 0.0, 1.0 / std::sqrt(static_cast<double>(d)));
  filler.vector(layer.lr_bias, {H}, 0.0, kBiasSpread);
  filler.token_idx(layer.token_idx, config.mini_batch_size);
  filler.vector(layer.inner_1_weight, {H, f, inner}, 0.0, kInnerSpread);
  filler.vector(layer.inner_1_bias, {H, inner}, 0.0, kBiasSpread);
  if (config.is_mlp()) {
    filler.vector(layer.inner_2_weight, {H, inner, f}, 0.0, kInnerSpread);
    filler.vector(layer.inner_2_bias, {H, f}, 0.0, kBiasSpread);
  }
  filler.vector(layer.inner_norm_weight, {H, f}, kGain, kGainSpread);
  filler.vector(layer.inner_norm_bias, {H, f}, 0.0, kBiasSpread);
  filler.vector(layer.post_norm_weight, {d}, kGain, kGainSpread);
  filler.vector(layer.post_norm_bias, {d}, 0.0, kBiasSpread);
  filler.vector(layer.ffn_norm, {d}, kGain, kGainSpread);
  filler.matrix(layer.ffn_gate, m, d);
  filler.matrix(layer.ffn_up, m, d);
  filler.matrix(layer.ffn_down, d, m);
  return layer;
}

}  // namespace

std::uint64_t RandomNumbers::bits() {
  std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

double RandomNumbers::symmetric() {
  return std::sqrt(12.0) * (static_cast<double>(bits() >> 11) * 0x1p-53 - 0.5);
}

std::vector<tokenizer::TokenId> RandomNumbers::tokens(std::size_t count, std::size_t vocab_size) {
  std::vector<tokenizer::TokenId> ids(count);
  for (auto& id : ids) id = static_cast<tokenizer::TokenId>(between(0, vocab_size - 1));
  return ids;
}

RandomModel::RandomModel(const ModelConfig& config, DType matrix_type, std::uint64_t seed) {
  Filler filler(*this, matrix_type, seed);
  model.config = config;
  filler.matrix(model.token_embd, config.vocab_size, config.hidden_size);
  filler.vector(model.output_norm, {config.hidden_size}, 1.0, 0.11);
  if (config.tie_word_embeddings) {
    model.output = model.token_embd;
  } else {
    filler.matrix(model.output, config.vocab_size, config.hidden_size);
  }
  for (std::size_t i = 0; i < config.num_hidden_layers; ++i)
    model.layers.push_back(draw_layer(filler, config));
}

std::vector<RandomModelCase> random_model_cases() {
  ModelConfig wide;
  wide.name = "selftest";
  wide.vocab_size = 300;
  wide.hidden_size = 128;
  wide.intermediate_size = 172;
  wide.num_hidden_layers = 2;
  wide.num_attention_heads = 2;
  wide.pre_conv = wide.share_qk = wide.use_gate = true;
  ModelConfig narrow = wide;
  narrow.vocab_size = 131;
  narrow.hidden_size = 60;
  narrow.intermediate_size = 100;
  narrow.num_attention_heads = 3;
  narrow.tie_word_embeddings = false;
  const auto mlp = [](ModelConfig config) {
    config.ttt_layer_type = LayerType::kTttMlp;
    config.ttt_base_lr = 0.1F;
    return config;
  };
  ModelConfig blocks = wide;  // rows of whole blocks of 256
  blocks.hidden_size = blocks.intermediate_size = 256;
  blocks.num_attention_heads = 4;
  ModelConfig plain = narrow;
  plain.pre_conv = plain.share_qk = plain.use_gate = false;
  return {{"linear f32", wide, DType::kF32},       {"linear f16", narrow, DType::kF16},
          {"linear bf16", narrow, DType::kBF16},   {"linear plain", plain, DType::kF32},
          {"mlp f32", mlp(narrow), DType::kF32},   {"mlp f16", mlp(narrow), DType::kF16},
          {"mlp bf16", mlp(wide), DType::kBF16},   {"mlp plain", mlp(plain), DType::kF32},
          {"linear q8_0", blocks, DType::kQ8_0},   {"linear q4_k", blocks, DType::kQ4_K},
          {"mlp q4_0", mlp(blocks), DType::kQ4_0}, {"mlp q6_k", mlp(blocks), DType::kQ6_K}};
}

}  // namespace ttt::cli
