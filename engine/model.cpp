// SPDX-License-Identifier: Apache-2.0
#include "engine/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <variant>

#include "engine/tensor_table.h"
#include "engine/tokenizer_metadata.h"
#include "engine/weights_hash.h"
#include "weights/checkpoint_error.h"
#include "weights/element_type.h"

namespace ttt {
namespace {

using weights::Checkpoint;
using weights::CheckpointFormat;
using weights::DType;
using weights::Shape;
using weights::TensorView;

// Finds tensors by name, checks them, and remembers which ones were asked for.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const ModelConfig& config)
      : checkpoint_(checkpoint), config_(config), is_gguf_(checkpoint.format() == CheckpointFormat::kGguf) {}

  std::string layer_name(const LayerTensor& tensor, std::size_t layer) const {
    return is_gguf_ ? gguf_name(tensor, layer) : hf_name(tensor, layer);
  }
  std::string model_name(const ModelTensor& tensor) const {
    return std::string(is_gguf_ ? tensor.gguf : tensor.hf);
  }

  TensorView load(const std::string& name, const std::vector<Extent>& extents, bool is_matrix) {
    const TensorView* tensor = checkpoint_.find_tensor(name);
    if (tensor == nullptr) {
      weights::refuse({.file = checkpoint_.path(),
                       .where = name,
                       .wanted = weights::to_string(resolve(extents, config_, !is_gguf_)),
                       .found = "no such tensor",
                       .remedy = "The configuration asks for it: check its switches, or the download."});
    }
    check(*tensor, resolve(extents, config_, !is_gguf_), is_matrix);
    used_.insert(name);
    TensorView view = *tensor;
    view.shape = resolve(extents, config_, false);
    return view;
  }

  // A tensor that nothing asked for: silently running without it would give wrong text.
  void refuse_unused() const {
    for (const TensorView& tensor : checkpoint_.tensors()) {
      if (used_.contains(tensor.name) || is_ignorable(tensor.name)) continue;
      weights::refuse({.file = checkpoint_.file_of(tensor),
                       .where = tensor.name,
                       .wanted = "only tensors that the configuration uses",
                       .found = describe(tensor.name),
                       .remedy = "Correct the configuration, or convert the checkpoint again."});
    }
  }

  bool has(const std::string& name) const { return checkpoint_.find_tensor(name) != nullptr; }

 private:
  void check(const TensorView& tensor, const Shape& wanted, bool is_matrix) const {
    if (tensor.shape != wanted) {
      weights::refuse({.file = checkpoint_.file_of(tensor),
                       .where = tensor.name,
                       .wanted = weights::to_string(wanted),
                       .found = weights::to_string(tensor.shape),
                       .remedy = "The configuration and the weights belong to different models."});
    }
    const bool is_plain = weights::dtype_info(tensor.dtype).block_elements == 1;
    // A folder may hold everything in 16 bits; our own files keep small tensors in F32.
    if (weights::is_weight_type(tensor.dtype) &&
        (is_matrix || (is_plain && !is_gguf_) || tensor.dtype == DType::kF32)) {
      return;
    }
    weights::refuse({.file = checkpoint_.file_of(tensor),
                     .where = tensor.name,
                     .wanted = is_gguf_ && !is_matrix ? "type F32"
                               : is_gguf_             ? "type F32, F16, BF16, Q8_0, Q4_0, Q6_K or Q4_K"
                                                      : "type F32, F16 or BF16",
                     .found = weights::dtype_info(tensor.dtype).name,
                     .remedy = "Convert the original checkpoint again."});
  }

  // Buffers that some exporters save although they are computed, and what is not a weight.
  bool is_ignorable(const std::string& name) const {
    return name == kTokenizerTensor || name.ends_with(".token_idx") || name.ends_with(".rotary_emb.inv_freq");
  }

  std::string describe(const std::string& name) const {
    for (const LayerTensor& tensor : layer_tensors()) {
      if (name.ends_with(is_gguf_ ? tensor.gguf : tensor.hf) && !applies(tensor.when, config_)) {
        return fmt::format("a tensor that contradicts {} in the configuration", field_of(tensor.when));
      }
    }
    return "a tensor that no TTT model of this configuration has";
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  bool is_gguf_;
  std::set<std::string, std::less<>> used_;
};

// tie_word_embeddings must agree with the presence of an output head. Hugging Face files may carry the
// tied head as a duplicate; it must be equal then.
void load_output_head(Loader& loader, Model& model, const Checkpoint& checkpoint) {
  const ModelTensor& row = model_tensors().back();
  const std::string name = loader.model_name(row);
  if (!model.config.tie_word_embeddings) {
    model.output = loader.load(name, row.shape, row.is_matrix);
    return;
  }
  model.output = model.token_embd;
  if (!loader.has(name)) return;
  const TensorView head = loader.load(name, row.shape, row.is_matrix);
  if (head.dtype != model.token_embd.dtype || !std::ranges::equal(head.bytes, model.token_embd.bytes)) {
    weights::refuse({.file = checkpoint.path(),
                     .where = name,
                     .wanted = "no head of its own (the configuration ties it to the embedding)",
                     .found = "a head that differs from the embedding",
                     .remedy = "Set tie_word_embeddings to false if the head is the model's own."});
  }
}

}  // namespace

std::vector<std::string> config_warnings(const ModelConfig& config) {
  if (!config.is_mlp() || config.ttt_base_lr != 1.0F) return {};
  return {
      "ttt_base_lr is 1.0 for a TTT-MLP model; published ones were trained with 0.1. "
      "If the text is poor, correct ttt_base_lr in config.json and convert again."};
}

Model load_model(const Checkpoint& checkpoint) {
  Model model;
  model.source = checkpoint.path();
  if (const weights::GgufValue* hash = weights::find(checkpoint.metadata(), kWeightsHashKey)) {
    if (const auto* text = std::get_if<std::string>(hash)) model.stated_hash = *text;
  }
  model.release = [&checkpoint](std::span<const std::byte> part) { checkpoint.release(part); };
  if (checkpoint.access() == weights::FileAccess::kReadParts) {
    model.fetch = [&checkpoint](const TensorView& view, std::vector<std::byte>& buffer) {
      if (buffer.size() < view.bytes.size()) {
        std::vector<std::byte>().swap(buffer);  // first: never two of them
        buffer.resize(view.bytes.size());
      }
      const auto bytes = std::span(buffer).first(view.bytes.size());
      if (!bytes.empty()) checkpoint.read(view.bytes, bytes);
      return std::span<const std::byte>(bytes);
    };
  }
  model.config = checkpoint.format() == CheckpointFormat::kGguf
                     ? config_from_gguf(checkpoint.metadata(), checkpoint.path())
                     : config_from_json(checkpoint.config_json(), checkpoint.path() + "/config.json");
  const ModelConfig& config = model.config;
  Loader loader(checkpoint, config);
  for (const ModelTensor& tensor : model_tensors()) {
    if (tensor.view == &Model::output) continue;
    model.*tensor.view = loader.load(loader.model_name(tensor), tensor.shape, tensor.is_matrix);
  }
  load_output_head(loader, model, checkpoint);
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    LayerWeights& weights = model.layers.emplace_back();
    for (const LayerTensor& tensor : layer_tensors()) {
      if (!applies(tensor.when, config)) continue;
      weights.*tensor.view = loader.load(loader.layer_name(tensor, layer), tensor.hf_shape, tensor.is_matrix);
    }
  }
  loader.refuse_unused();
  model.warnings = config_warnings(config);
  return model;
}

Model assemble_model(
    const ModelConfig& config,
    const std::function<TensorView(std::string name, Shape shape, bool is_matrix)>& provide) {
  Model model;
  model.config = config;
  model.source = config.name;
  for (const ModelTensor& tensor : model_tensors()) {
    if (tensor.view == &Model::output && config.tie_word_embeddings) {
      model.output = model.token_embd;
    } else {
      model.*tensor.view =
          provide(std::string(tensor.gguf), resolve(tensor.shape, config, false), tensor.is_matrix);
    }
  }
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    LayerWeights& weights = model.layers.emplace_back();
    for (const LayerTensor& tensor : layer_tensors()) {
      if (!applies(tensor.when, config)) continue;
      weights.*tensor.view =
          provide(gguf_name(tensor, layer), resolve(tensor.hf_shape, config, false), tensor.is_matrix);
    }
  }
  return model;
}

std::vector<NamedTensor> list_tensors(const Model& model) {
  std::vector<NamedTensor> list;
  const auto add = [&](std::string name, const TensorView& view, bool is_matrix) {
    NamedTensor& named = list.emplace_back(NamedTensor{view, is_matrix});
    named.view.name = std::move(name);
  };
  for (const ModelTensor& tensor : model_tensors()) {
    if (tensor.view == &Model::output && model.config.tie_word_embeddings) continue;
    add(std::string(tensor.gguf), model.*tensor.view, tensor.is_matrix);
  }
  for (std::size_t layer = 0; layer < model.layers.size(); ++layer) {
    for (const LayerTensor& tensor : layer_tensors()) {
      if (!applies(tensor.when, model.config)) continue;
      add(gguf_name(tensor, layer), model.layers[layer].*tensor.view, tensor.is_matrix);
    }
  }
  std::ranges::sort(list, {},
                    [](const NamedTensor& tensor) -> const std::string& { return tensor.view.name; });
  return list;
}

}  // namespace ttt
