// SPDX-License-Identifier: Apache-2.0
// The hyper-parameters of a TTT language model, read from a GGUF file's metadata or a Hugging Face
// config.json. Field names are the checkpoint's own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "weights/gguf.h"

namespace ttt {

// The inner model of a layer, which learns while it reads: z = k W1 + b1, or a two-layer network.
enum class LayerType { kTttLinear, kTttMlp };

std::string_view to_string(LayerType type);  // "linear", "mlp": as ttt_layer_type spells it

struct ModelConfig {
  std::string name;                     // general.name; for messages only
  std::size_t vocab_size = 0;           // V
  std::size_t hidden_size = 0;          // d
  std::size_t intermediate_size = 0;    // m, width of SwiGLU
  std::size_t num_hidden_layers = 0;    // L
  std::size_t num_attention_heads = 0;  // H
  LayerType ttt_layer_type = LayerType::kTttLinear;
  std::size_t mini_batch_size = 16;  // K, tokens whose gradients are taken at the same fast weights
  float ttt_base_lr = 1.0F;          // inner base learning rate: 1.0 for Linear, 0.1 for MLP as trained
  float rms_norm_eps = 1e-6F;        // of every RMSNorm; the LayerNorms have a fixed 1e-6
  float rope_theta = 10000.0F;
  bool pre_conv = false;        // a residual convolution before each layer's sequence mixer
  bool share_qk = false;        // one projection and two convolutions give q and k
  bool use_gate = false;        // GELU gate on the mixer's output
  std::size_t conv_kernel = 4;  // c, width of every convolution
  bool tie_word_embeddings = true;
  std::size_t context_length = 2048;  // of training; information, never a limit
  std::optional<std::int32_t> bos_token_id;
  std::optional<std::int32_t> eos_token_id;

  std::size_t head_size() const { return hidden_size / num_attention_heads; }  // f
  // Width of the inner model's first layer, m': f for Linear, 4 f for MLP.
  std::size_t inner_size() const {
    return ttt_layer_type == LayerType::kTttMlp ? 4 * head_size() : head_size();
  }
  bool is_mlp() const { return ttt_layer_type == LayerType::kTttMlp; }
};

// What the model_type of a TTT model's config.json may say, where it says something.
inline constexpr std::array<std::string_view, 1> kTttModelTypes = {"ttt"};

// Both throw weights::CheckpointError naming the field, what was wanted and what was found.
// `file` stands in messages.
ModelConfig config_from_json(std::string_view text, std::string_view file,
                             std::span<const std::string_view> model_types = kTttModelTypes);
ModelConfig config_from_gguf(const weights::GgufMetadata& metadata, std::string_view file);

// Appends the ttt.* keys and general.architecture; config_from_gguf of the result gives `config` again.
void append_config(const ModelConfig& config, weights::GgufMetadata& metadata);

}  // namespace ttt
