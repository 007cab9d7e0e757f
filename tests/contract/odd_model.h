// SPDX-License-Identifier: Apache-2.0
// The small model that backends are checked with.
#pragma once

#include <algorithm>
#include <cstddef>

#include "engine/config.h"
#include "tests/naive.h"

namespace ttt::contract {

// Sizes that no vector width divides.
inline ModelConfig odd_config(LayerType type) {
  ModelConfig config;
  config.vocab_size = 37;
  config.hidden_size = 20;
  config.intermediate_size = 28;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.ttt_layer_type = type;
  config.mini_batch_size = 5;
  config.ttt_base_lr = type == LayerType::kTttMlp ? 0.1F : 1.0F;
  config.pre_conv = config.share_qk = config.use_gate = true;
  return config;
}

// Ids 3 and 30 have equal embeddings, so that their logits tie.
inline void tie_two_ids(naive::Tensors& tensors) {
  naive::Vector& embedding = tensors.at("model.embed_tokens.weight");
  const std::size_t width = embedding.size() / 37;
  std::copy_n(embedding.begin() + static_cast<std::ptrdiff_t>(3 * width), width,
              embedding.begin() + static_cast<std::ptrdiff_t>(30 * width));
}

}  // namespace ttt::contract
