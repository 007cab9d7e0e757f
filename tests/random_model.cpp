// SPDX-License-Identifier: Apache-2.0
#include "tests/random_model.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>

#include "engine/convert.h"
#include "tests/golden.h"
#include "weights/float16.h"
#include "weights/safetensors.h"

namespace ttt::test {
namespace {

// A folder of its own under the system's temporary folder, removed with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    static std::atomic<int> count = 0;
    path_ =
        std::filesystem::temp_directory_path() / fmt::format("ttt-random-model-{}-{}", ::getpid(), count++);
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string file(std::string_view name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

std::string config_json(const ModelConfig& config) {
  return fmt::format(
      R"({{"model_type": "ttt", "vocab_size": {}, "hidden_size": {}, "intermediate_size": {},
 "num_hidden_layers": {}, "num_attention_heads": {}, "mini_batch_size": {}, "tie_word_embeddings": {},
 "ttt_base_lr": {}, "rope_theta": {:.1f}, "rms_norm_eps": {}, "use_gate": {}, "share_qk": {}, "pre_conv": {},
 "conv_kernel": {}, "hidden_act": "silu", "ttt_layer_type": "{}", "max_position_embeddings": {}}})",
      config.vocab_size, config.hidden_size, config.intermediate_size, config.num_hidden_layers,
      config.num_attention_heads, config.mini_batch_size, config.tie_word_embeddings, config.ttt_base_lr,
      config.rope_theta, config.rms_norm_eps, config.use_gate, config.share_qk, config.pre_conv,
      config.conv_kernel, config.is_mlp() ? "mlp" : "linear", config.context_length);
}

// tau[i] = max(0, 1 / (i + 1) + value[i]): the middle slot's is 0, the others are positive.
std::vector<double> random_token_idx(std::size_t size, Random& random) {
  std::vector<double> values(size);
  for (std::size_t i = 0; i < size; ++i) values[i] = 0.4 / static_cast<double>(i + 1) * random.symmetric();
  if (size > 1) values[size / 2] = -1.5;
  return values;
}

std::vector<double> random_values(std::string_view name, const weights::Shape& shape, Random& random) {
  if (name.ends_with("learnable_token_idx")) return random_token_idx(shape[0], random);
  const bool is_gain = name.ends_with("norm.weight") || name.ends_with("norm_weight");
  const bool is_bias = name.ends_with("bias") || name.ends_with(".b1") || name.ends_with(".b2");
  double scale = 0.2;
  if (name.ends_with("embed_tokens.weight")) {
    scale = 0.7;
  } else if (name.ends_with("proj.weight") || name.ends_with("lr_weight") ||
             name.ends_with("lm_head.weight")) {
    scale = 1.0 / std::sqrt(static_cast<double>(shape.back()));
  } else if (name.find("conv") != std::string_view::npos && !is_gain && !is_bias) {
    scale = 0.5;
  }
  std::vector<double> values(*weights::num_elements(shape));
  // Gains and biases are small and bounded: symmetric() reaches sqrt(3).
  for (double& value : values)
    value = (is_gain ? 1.0 : 0.0) + (is_bias ? 0.1 : is_gain ? 0.11 : scale) * random.symmetric();
  return values;
}

std::vector<std::byte> encode(std::span<const double> values, weights::DType dtype) {
  std::vector<std::byte> bytes(values.size() * weights::dtype_info(dtype).block_bytes);
  const auto store = [&](auto convert) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto stored = convert(static_cast<float>(values[i]));
      std::memcpy(bytes.data() + i * sizeof(stored), &stored, sizeof(stored));
    }
  };
  switch (dtype) {
    case weights::DType::kF32:
      store([](float value) { return value; });
      break;
    case weights::DType::kF16:
      store(weights::float_to_f16);
      break;
    case weights::DType::kBF16:
      store(weights::float_to_bf16);
      break;
    default:
      throw std::invalid_argument("RandomModel: weights are F32, F16 or BF16");
  }
  return bytes;
}

naive::Tensors draw(const ModelConfig& config, std::uint64_t seed) {
  Random random(seed);
  naive::Tensors tensors;
  for (const auto& [name, shape] : hugging_face_shapes(config))
    tensors[name] = random_values(name, shape, random);
  return tensors;
}

weights::Checkpoint write_and_open(const ModelConfig& config, const naive::Tensors& tensors,
                                   weights::DType dtype) {
  const TemporaryFolder folder;
  std::ofstream(folder.file("config.json")) << config_json(config);
  std::vector<weights::SafetensorsTensorInfo> infos;
  for (const auto& [name, shape] : hugging_face_shapes(config)) infos.push_back({name, dtype, shape});
  weights::SafetensorsWriter writer(folder.file("model.safetensors"), infos);
  for (const weights::SafetensorsTensorInfo& info : infos) writer.write(encode(tensors.at(info.name), dtype));
  writer.commit();
  return weights::Checkpoint::open(folder.path(), weights::FileAccess::kRead);
}

weights::Checkpoint convert_and_open(const Model& source, weights::DType matrix_type) {
  const TemporaryFolder folder;
  ConvertOptions options;
  options.matrix_type = matrix_type;
  convert(source, {}, nullptr, folder.file("model.gguf"), options);
  return weights::Checkpoint::open(folder.file("model.gguf"), weights::FileAccess::kRead);
}

}  // namespace

std::vector<std::pair<std::string, weights::Shape>> hugging_face_shapes(const ModelConfig& config) {
  const std::uint64_t V = config.vocab_size, d = config.hidden_size, m = config.intermediate_size;
  const std::uint64_t H = config.num_attention_heads, f = config.head_size(), inner = config.inner_size();
  const std::uint64_t K = config.mini_batch_size, c = config.conv_kernel;
  std::vector<std::pair<std::string, weights::Shape>> shapes = {{"model.embed_tokens.weight", {V, d}},
                                                                {"model.norm.weight", {d}}};
  if (!config.tie_word_embeddings) shapes.push_back({"lm_head.weight", {V, d}});
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const auto add = [&](std::string_view name, weights::Shape shape) {
      shapes.emplace_back(fmt::format("model.layers.{}.{}", layer, name), std::move(shape));
    };
    const auto mixer = [&](std::string_view name, weights::Shape shape) {
      add(fmt::format("seq_modeling_block.{}", name), std::move(shape));
    };
    if (config.pre_conv) {
      add("conv.norm.weight", {d});
      add("conv.conv.weight", {d, 1, c});
      add("conv.conv.bias", {d});
    }
    add("seq_norm.weight", {d});
    add("ffn_norm.weight", {d});
    add("mlp.gate_proj.weight", {m, d});
    add("mlp.up_proj.weight", {m, d});
    add("mlp.down_proj.weight", {d, m});
    mixer("q_proj.weight", {d, d});
    mixer("v_proj.weight", {d, d});
    mixer("o_proj.weight", {d, d});
    if (config.use_gate) mixer("g_proj.weight", {d, d});
    if (config.share_qk) {
      mixer("conv_q.weight", {d, 1, c});
      mixer("conv_q.bias", {d});
      mixer("conv_k.weight", {d, 1, c});
      mixer("conv_k.bias", {d});
    } else {
      mixer("k_proj.weight", {d, d});
    }
    mixer("learnable_ttt_lr_weight", {H, 1, d});
    mixer("learnable_ttt_lr_bias", {H, 1});
    mixer("learnable_token_idx", {K});
    mixer("ttt_norm_weight", {H, f});
    mixer("ttt_norm_bias", {H, f});
    mixer("post_norm.weight", {d});
    mixer("post_norm.bias", {d});
    mixer("W1", {H, f, inner});
    mixer("b1", {H, 1, inner});
    if (config.is_mlp()) {
      mixer("W2", {H, inner, f});
      mixer("b2", {H, 1, f});
    }
  }
  return shapes;
}

RandomModel::RandomModel(const ModelConfig& config, std::uint64_t seed, weights::DType dtype,
                         const std::function<void(naive::Tensors&)>& edit)
    : tensors([&] {
        naive::Tensors drawn = draw(config, seed);
        if (edit) edit(drawn);
        return drawn;
      }()),
      checkpoint(write_and_open(config, tensors, dtype)),
      model(load_model(checkpoint)) {
  tensors = read_tensors(checkpoint);
}

ConvertedModel::ConvertedModel(const Model& source, weights::DType matrix_type)
    : checkpoint(convert_and_open(source, matrix_type)), model(load_model(checkpoint)) {}

}  // namespace ttt::test
