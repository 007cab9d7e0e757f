// SPDX-License-Identifier: Apache-2.0
// The model that most tests of the backend begin with.
#pragma once

#include <cstddef>

#include "engine/config.h"

namespace ttt::test {

#ifdef TTT_ON_DEVICE
inline constexpr bool kOnDevice = true;
#else
inline constexpr bool kOnDevice = false;  // in the block emulator
#endif

// One small layer with everything that can be switched on.
inline ModelConfig device_config(LayerType type, std::size_t num_heads, std::size_t head_size) {
  ModelConfig config;
  config.vocab_size = 50;
  config.hidden_size = num_heads * head_size;
  config.intermediate_size = 24;
  config.num_hidden_layers = 1;
  config.num_attention_heads = num_heads;
  config.ttt_layer_type = type;
  config.ttt_base_lr = type == LayerType::kTttMlp ? 0.1F : 1.0F;
  config.pre_conv = config.share_qk = config.use_gate = true;
  return config;
}

}  // namespace ttt::test
