// SPDX-License-Identifier: Apache-2.0
#include "engine/import.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "engine/archived_weight.h"
#include "engine/config_agreement.h"
#include "engine/random_weights.h"
#include "engine/tensor_table.h"
#include "engine/weights_hash.h"
#include "weights/block_types.h"
#include "weights/checked.h"
#include "weights/checkpoint_error.h"
#include "weights/element_type.h"

namespace ttt {
namespace {

using weights::ArchivedTensor;
using weights::Shape;
using weights::TensorArchive;
using weights::TensorView;
using W = LayerWeights;

// Buffers that some exporters save although they are computed.
bool is_ignorable(std::string_view name) {
  return name.ends_with(".token_idx") || name.ends_with(".rotary_emb.inv_freq");
}

class Importer {
 public:
  Importer(const TensorArchive& archive, const ImportOptions& options)
      : archive_(archive), options_(options) {
    for (std::size_t i = 0; i < archive.tensors().size(); ++i) index_.emplace(archive.tensors()[i].name, i);
    is_jax_ = has(std::string(row_of(&Model::token_embd).jax));
    if (is_jax_ || has(std::string(row_of(&Model::token_embd).hf))) return;
    fail("the tensors",
         fmt::format("{} or {}", row_of(&Model::token_embd).jax, row_of(&Model::token_embd).hf),
         archive.tensors().empty() ? "none" : archive.tensors().front().name,
         "This is no TTT language model, or not in a form that this program knows.");
  }

  Model import() {
    ModelConfig config = infer_config();
    std::vector<std::string> warnings;
    complete_config(config, warnings);
    list_places(config);
    Model model = assemble_model(config, [this](std::string name, Shape shape, bool) {
      return bring(std::move(name), std::move(shape));
    });
    refuse_unused();
    model.source = archive_.path();
    model.warnings = config_warnings(config);
    std::ranges::move(warnings, std::back_inserter(model.warnings));
    model.fetch = [&archive = archive_, sources = std::move(sources_)](const TensorView& view,
                                                                       std::vector<std::byte>& buffer) {
      const Source& source = sources.at(view.name);
      buffer = read_archived(archive, source.index, source.is_transposed);
      return std::span<const std::byte>(buffer);
    };
    return model;
  }

 private:
  struct Place {  // where a weight should be
    std::string name;
    Shape shape;
    bool is_transposed = false;
  };
  struct Source {  // where it is
    std::size_t index = 0;
    bool is_transposed = false;
  };

  [[noreturn]] void fail(std::string_view where, std::string_view wanted, std::string_view found,
                         std::string_view remedy) const {
    weights::refuse(
        {.file = archive_.path(), .where = where, .wanted = wanted, .found = found, .remedy = remedy});
  }

  bool has(const std::string& name) const { return index_.contains(name); }
  std::string name_of(const LayerTensor& row, std::size_t layer) const {
    return is_jax_ ? jax_name(row, layer) : hf_name(row, layer);
  }
  std::string name_of(const ModelTensor& row) const { return std::string(is_jax_ ? row.jax : row.hf); }
  bool has_weight(TensorView W::*view) const { return has(name_of(row_of(view), 0)); }

  // Its shape with the axes of Hugging Face.
  Shape shape_of(const std::string& name, JaxAxes axes, std::size_t rank) const {
    const auto entry = index_.find(name);
    if (entry == index_.end()) {
      fail(name, "this tensor, to tell the model's shape", "no such tensor",
           "The checkpoint is incomplete: write or download it again.");
    }
    const Shape& shape = archive_.tensors()[entry->second].shape;
    if (shape.size() != rank) {
      fail(name, fmt::format("{} extents", rank), weights::to_string(shape),
           "This is no TTT language model of the official code.");
    }
    return is_jax_ ? in_jax(axes, shape) : shape;  // turning the axes twice gives the first order again
  }
  Shape shape_of(TensorView W::*view) const {
    const LayerTensor& row = row_of(view);
    return shape_of(name_of(row, 0), row.jax_axes, row.hf_shape.size());
  }

  ModelConfig infer_config() const {
    ModelConfig config;
    const ModelTensor& embedding = row_of(&Model::token_embd);
    const Shape table = shape_of(name_of(embedding), embedding.jax_axes, embedding.shape.size());
    config.vocab_size = table[0];
    config.hidden_size = table[1];
    while (has(name_of(row_of(&W::attn_norm), config.num_hidden_layers))) ++config.num_hidden_layers;
    if (config.num_hidden_layers == 0) {
      fail(name_of(row_of(&W::attn_norm), 0), "layers, each with this tensor", "none",
           "The checkpoint is incomplete: write or download it again.");
    }
    if (has_weight(&W::attn_q) && !has_weight(&W::inner_1_weight)) {
      fail("the layers", "a TTT model (TTT-Linear or TTT-MLP)",
           "a Transformer with self-attention: its layers have no inner model",
           "This program computes TTT layers only; `ttt convert` makes a .gguf file of a JAX one for "
           "llama.cpp.");
    }
    config.intermediate_size = shape_of(&W::ffn_gate)[0];
    const Shape inner_norm = shape_of(&W::inner_norm_weight);
    config.num_attention_heads = inner_norm[0];
    if (weights::checked_mul(inner_norm[0], inner_norm[1]) != config.hidden_size) {
      fail(name_of(row_of(&W::inner_norm_weight), 0),
           fmt::format("heads that make up the width of {}", config.hidden_size),
           weights::to_string(inner_norm), "The checkpoint is damaged: write or download it again.");
    }
    config.mini_batch_size = shape_of(&W::token_idx)[0];
    config.ttt_layer_type = has_weight(&W::inner_2_weight) ? LayerType::kTttMlp : LayerType::kTttLinear;
    config.pre_conv = has_weight(&W::pre_conv_weight);
    config.share_qk = has_weight(&W::conv_q_weight);
    config.use_gate = has_weight(&W::gate);
    if (config.share_qk) config.conv_kernel = shape_of(&W::conv_q_weight).back();
    if (config.pre_conv) config.conv_kernel = shape_of(&W::pre_conv_weight).back();
    config.tie_word_embeddings = is_tied();
    weights::GgufMetadata metadata;  // whose reader checks every limit and relation
    append_config(config, metadata);
    return config_from_gguf(metadata, archive_.path());
  }

  // PyTorch may save a tied head under a second name: it has the same values then.
  bool is_tied() const {
    const auto head = index_.find(name_of(row_of(&Model::output)));
    if (head == index_.end()) return true;
    if (is_jax_) return false;
    const auto hash = [this](std::size_t index) {
      const ArchivedTensor& tensor = archive_.tensors()[index];
      WeightsHash values;
      values.begin_tensor("values", tensor.dtype, tensor.shape);
      values.update(read_archived(archive_, index));
      return values.hex();
    };
    return hash(head->second) == hash(index_.at(name_of(row_of(&Model::token_embd))));
  }

  // Adds what the tensors do not tell.
  void complete_config(ModelConfig& config, std::vector<std::string>& warnings) const {
    config.ttt_base_lr = config.is_mlp() ? 0.1F : 1.0F;  // as all published models were trained
    if (!options_.size.empty()) check_size(config);
    if (!options_.config_json.empty()) take_config_json(config);
    if (options_.base_lr) config.ttt_base_lr = *options_.base_lr;
    const std::string_view size = official_size_of(config);
    if (config.name.empty() && !size.empty()) {
      config.name =
          fmt::format("{} {}", config.is_mlp() ? "TTT-MLP" : "TTT-Linear", size.substr(0, size.find('-')));
    }
    if (!options_.config_json.empty() || !options_.size.empty()) return;
    const std::string family = config.is_mlp() ? "TTT-MLP" : "TTT-Linear";
    if (!options_.base_lr) {
      warnings.push_back(fmt::format(
          "the checkpoint does not tell the inner base learning rate: {} is taken, with which published {} "
          "models were trained; --base-lr says another",
          config.ttt_base_lr, family));
    }
    warnings.push_back(fmt::format(
        "the checkpoint does not tell rope_theta and rms_norm_eps: {} and {} are taken, which the "
        "official code has; for others put a config.json beside the checkpoint and name their folder",
        config.rope_theta, config.rms_norm_eps));
  }

  void check_size(const ModelConfig& config) const {
    const ModelConfig wanted = official_config(options_.size);
    const auto check = [&](std::string_view field, auto value, auto found) {
      if (value == found) return;
      fail(field, fmt::format("{}, which {} has", value, options_.size), fmt::format("{}", found),
           "Leave --preset out, or name the size that the checkpoint has.");
    };
    check("ttt_layer_type", to_string(wanted.ttt_layer_type), to_string(config.ttt_layer_type));
    check("hidden_size", wanted.hidden_size, config.hidden_size);
    check("num_hidden_layers", wanted.num_hidden_layers, config.num_hidden_layers);
    check("num_attention_heads", wanted.num_attention_heads, config.num_attention_heads);
    check("intermediate_size", wanted.intermediate_size, config.intermediate_size);
  }

  // Takes over what only the file knows, and compares the rest with the tensors.
  void take_config_json(ModelConfig& config) const {
    const ModelConfig given = config_from_json(options_.config_json, options_.config_path);
    const auto check = [&](std::string_view field, const auto& from_tensors, const auto& found) {
      check_agreement(options_.config_path, field, from_tensors, found);
    };
    check("vocab_size", config.vocab_size, given.vocab_size);
    check("hidden_size", config.hidden_size, given.hidden_size);
    check("intermediate_size", config.intermediate_size, given.intermediate_size);
    check("num_hidden_layers", config.num_hidden_layers, given.num_hidden_layers);
    check("num_attention_heads", config.num_attention_heads, given.num_attention_heads);
    check("ttt_layer_type", to_string(config.ttt_layer_type), to_string(given.ttt_layer_type));
    check("mini_batch_size", config.mini_batch_size, given.mini_batch_size);
    check("pre_conv", config.pre_conv, given.pre_conv);
    check("share_qk", config.share_qk, given.share_qk);
    check("use_gate", config.use_gate, given.use_gate);
    if (config.share_qk || config.pre_conv) check("conv_kernel", config.conv_kernel, given.conv_kernel);
    check("tie_word_embeddings", config.tie_word_embeddings, given.tie_word_embeddings);
    config = given;
  }

  // Where each weight of the configuration should be, by its GGUF name.
  void list_places(const ModelConfig& config) {
    const auto add = [this](std::string gguf, std::string name, JaxAxes axes, Shape hf_shape) {
      Place place{.name = std::move(name),
                  .shape = is_jax_ ? in_jax(axes, std::move(hf_shape)) : std::move(hf_shape),
                  .is_transposed = is_jax_ && axes == JaxAxes::kReversed};
      places_.emplace(std::move(gguf), std::move(place));
    };
    for (const ModelTensor& row : model_tensors()) {
      add(std::string(row.gguf), name_of(row), row.jax_axes, resolve(row.shape, config, true));
    }
    for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      for (const LayerTensor& row : layer_tensors()) {
        add(gguf_name(row, layer), name_of(row, layer), row.jax_axes, resolve(row.hf_shape, config, true));
      }
    }
  }

  TensorView bring(std::string gguf, Shape shape) {
    const Place& place = places_.at(gguf);
    const auto entry = index_.find(place.name);
    if (entry == index_.end()) {
      fail(place.name, weights::to_string(place.shape), "no such tensor",
           "The checkpoint is incomplete: write or download it again.");
    }
    const ArchivedTensor& tensor = archive_.tensors()[entry->second];
    if (tensor.shape != place.shape) {
      fail(place.name, weights::to_string(place.shape), weights::to_string(tensor.shape),
           "Its layers contradict each other: write or download the checkpoint again.");
    }
    if (!weights::is_weight_type(tensor.dtype) || weights::is_block_type(tensor.dtype)) {
      fail(place.name, "type F32, F16 or BF16", weights::dtype_info(tensor.dtype).name,
           "Save the checkpoint in one of these types.");
    }
    used_.insert(place.name);
    TensorView view{.name = gguf, .dtype = tensor.dtype, .shape = std::move(shape), .bytes = {}};
    sources_.emplace(std::move(gguf), Source{entry->second, place.is_transposed});
    return view;
  }

  // A tensor that nothing asked for: silently running without it would give wrong text.
  void refuse_unused() const {
    for (const ArchivedTensor& tensor : archive_.tensors()) {
      const bool is_tied_head = !is_jax_ && tensor.name == row_of(&Model::output).hf;
      if (used_.contains(tensor.name) || is_tied_head || (!is_jax_ && is_ignorable(tensor.name))) continue;
      fail(tensor.name, "only tensors of a TTT model as its first layer describes it", "one more",
           "This is a model of another kind, or its layers differ from each other.");
    }
  }

  const TensorArchive& archive_;
  const ImportOptions& options_;
  bool is_jax_ = false;
  std::map<std::string, std::size_t, std::less<>> index_;  // into archive_.tensors()
  std::map<std::string, Place, std::less<>> places_;       // by GGUF name
  std::map<std::string, Source, std::less<>> sources_;     // by GGUF name
  std::set<std::string, std::less<>> used_;
};

}  // namespace

std::string_view official_size_of(const ModelConfig& config) {
  for (const std::string& size : official_sizes()) {
    const ModelConfig official = official_config(size);
    if (official.ttt_layer_type == config.ttt_layer_type && official.hidden_size == config.hidden_size &&
        official.num_hidden_layers == config.num_hidden_layers &&
        official.num_attention_heads == config.num_attention_heads &&
        official.intermediate_size == config.intermediate_size) {
      return size;
    }
  }
  return {};
}

Model import_model(const TensorArchive& archive, const ImportOptions& options) {
  return Importer(archive, options).import();
}

}  // namespace ttt
