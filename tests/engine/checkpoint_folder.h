// SPDX-License-Identifier: Apache-2.0
// A Hugging Face folder with a small random model that a test may spoil before it is opened.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/random.h"
#include "tests/random_model.h"
#include "weights/element_type.h"
#include "weights/safetensors.h"

namespace ttt::test {

// d 16, 2 heads of 8, 2 layers, every switch on.
inline ModelConfig small_config(LayerType type = LayerType::kTttLinear) {
  ModelConfig config;
  config.vocab_size = 40;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.ttt_layer_type = type;
  config.mini_batch_size = 4;
  config.ttt_base_lr = type == LayerType::kTttMlp ? 0.1F : 1.0F;
  config.pre_conv = config.share_qk = config.use_gate = true;
  config.bos_token_id = 1;
  config.eos_token_id = 2;
  return config;
}

inline nlohmann::json json_of(const ModelConfig& config) {
  return {{"model_type", "ttt"},
          {"vocab_size", config.vocab_size},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"num_hidden_layers", config.num_hidden_layers},
          {"num_attention_heads", config.num_attention_heads},
          {"ttt_layer_type", std::string(to_string(config.ttt_layer_type))},
          {"mini_batch_size", config.mini_batch_size},
          {"ttt_base_lr", config.ttt_base_lr},
          {"pre_conv", config.pre_conv},
          {"share_qk", config.share_qk},
          {"use_gate", config.use_gate},
          {"conv_kernel", config.conv_kernel},
          {"tie_word_embeddings", config.tie_word_embeddings},
          {"bos_token_id", 1},
          {"eos_token_id", 2}};
}

class CheckpointFolder {
 public:
  explicit CheckpointFolder(const ModelConfig& config, weights::DType dtype = weights::DType::kF32)
      : config_json(json_of(config)), dtype_(dtype) {
    std::string pattern = (std::filesystem::temp_directory_path() / "ttt-engine-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
    Random random(7);
    for (const auto& [name, shape] : hugging_face_shapes(config)) {
      std::vector<float>& values = tensors[name];
      values.resize(*weights::num_elements(shape));
      for (float& value : values) value = static_cast<float>(0.2 * random.symmetric());
      shapes[name] = shape;
    }
  }
  ~CheckpointFolder() { std::filesystem::remove_all(path_); }
  CheckpointFolder(const CheckpointFolder&) = delete;
  CheckpointFolder& operator=(const CheckpointFolder&) = delete;

  weights::Checkpoint open() {
    std::ofstream(path_ / "config.json") << config_json.dump();
    std::vector<weights::SafetensorsTensorInfo> infos;
    for (const auto& [name, shape] : shapes) infos.push_back({name, dtype_, shape});
    weights::SafetensorsWriter writer((path_ / "model.safetensors").string(), infos);
    for (const auto& [name, shape] : shapes) {
      const std::vector<float>& values = tensors.at(name);
      std::vector<std::byte> bytes(values.size() * weights::dtype_info(dtype_).block_bytes);
      weights::from_floats(dtype_, values, bytes);
      writer.write(bytes);
    }
    writer.commit();
    return weights::Checkpoint::open(path_.string());
  }
  void add_tokenizer(const std::string& model_file) {
    std::filesystem::copy_file(model_file, path_ / "tokenizer.model");
  }
  std::string path(const std::string& name) const { return (path_ / name).string(); }

  nlohmann::json config_json;
  std::map<std::string, std::vector<float>> tensors;
  std::map<std::string, weights::Shape> shapes;

 private:
  weights::DType dtype_;
  std::filesystem::path path_;
};

inline std::string file_contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace ttt::test
