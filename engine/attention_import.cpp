// SPDX-License-Identifier: Apache-2.0
#include "engine/attention_import.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "engine/archived_weight.h"
#include "engine/config_agreement.h"
#include "engine/random_weights.h"
#include "engine/tensor_table.h"
#include "engine/tokenizer_metadata.h"
#include "weights/block_types.h"
#include "weights/checkpoint_error.h"
#include "weights/element_type.h"

namespace ttt {
namespace {

using weights::ArchivedTensor;
using weights::Shape;
using weights::TensorArchive;
using W = LayerWeights;

// What a layer of it has, of the rows of tensor_table.h. Names in GGUF are llama.cpp's.
constexpr std::array kLayerViews = {&W::attn_norm, &W::attn_q,   &W::attn_k, &W::attn_v,  &W::attn_output,
                                    &W::ffn_norm,  &W::ffn_gate, &W::ffn_up, &W::ffn_down};

// As the official code and llama.cpp spell their Llama.
constexpr std::array<std::string_view, 2> kModelTypes = {"ttt-transformer", "llama"};

class AttentionImporter {
 public:
  AttentionImporter(const TensorArchive& archive, const ImportOptions& options)
      : archive_(archive), options_(options) {
    for (std::size_t i = 0; i < archive.tensors().size(); ++i) index_.emplace(archive.tensors()[i].name, i);
  }

  AttentionModel import() {
    infer_config();
    for (const ModelTensor& row : model_tensors()) {
      if (row.view == &Model::output && model_.config.tie_word_embeddings) continue;
      bring(std::string(row.gguf), std::string(row.jax), row.jax_axes,
            resolve(row.shape, model_.config, false), row.is_matrix);
    }
    for (std::size_t layer = 0; layer < model_.config.num_hidden_layers; ++layer) {
      for (const auto view : kLayerViews) {
        const LayerTensor& row = row_of(view);
        bring(gguf_name(row, layer), jax_name(row, layer), row.jax_axes,
              resolve(row.hf_shape, model_.config, false), row.is_matrix);
      }
    }
    refuse_unused();
    std::ranges::sort(model_.tensors, {}, [](const NamedTensor& tensor) { return tensor.view.name; });
    model_.weights.source = archive_.path();
    model_.weights.fetch = [&archive = archive_, sources = std::move(sources_)](
                               const weights::TensorView& view, std::vector<std::byte>& buffer) {
      const auto& [index, is_transposed] = sources.at(view.name);
      buffer = read_archived(archive, index, is_transposed);
      return std::span<const std::byte>(buffer);
    };
    return std::move(model_);
  }

 private:
  [[noreturn]] void fail(std::string_view where, std::string_view wanted, std::string_view found,
                         std::string_view remedy) const {
    weights::refuse(
        {.file = archive_.path(), .where = where, .wanted = wanted, .found = found, .remedy = remedy});
  }

  Shape matrix_shape(const std::string& name) const {
    const auto entry = index_.find(name);
    if (entry == index_.end() || archive_.tensors()[entry->second].shape.size() != 2) {
      fail(name, "a matrix, to tell the model's shape", "none",
           "The checkpoint is incomplete: write or download it again.");
    }
    return archive_.tensors()[entry->second].shape;
  }

  void infer_config() {
    ModelConfig& config = model_.config;
    const Shape embedding = matrix_shape(std::string(row_of(&Model::token_embd).jax));
    config.vocab_size = embedding[0];
    config.hidden_size = embedding[1];
    while (index_.contains(jax_name(row_of(&W::attn_norm), config.num_hidden_layers)))
      ++config.num_hidden_layers;
    config.intermediate_size = matrix_shape(jax_name(row_of(&W::ffn_gate), 0))[1];
    config.tie_word_embeddings = !index_.contains(std::string(row_of(&Model::output).jax));
    if (!options_.config_json.empty()) {
      take_config_json();
    } else {
      guess_heads();
    }
    if (config.num_attention_heads == 0 || config.hidden_size % config.num_attention_heads != 0 ||
        config.head_size() % 2 != 0) {
      fail("num_attention_heads", fmt::format("heads that cut {} into even parts", config.hidden_size),
           fmt::format("{}", config.num_attention_heads), "Correct config.json.");
    }
  }

  // Compares the file with the tensors, and takes over what they do not tell.
  void take_config_json() {
    const ModelConfig given = config_from_json(options_.config_json, options_.config_path, kModelTypes);
    const ModelConfig& config = model_.config;
    const auto check = [&](std::string_view field, const auto& from_tensors, const auto& found) {
      check_agreement(options_.config_path, field, from_tensors, found);
    };
    check("vocab_size", config.vocab_size, given.vocab_size);
    check("hidden_size", config.hidden_size, given.hidden_size);
    check("intermediate_size", config.intermediate_size, given.intermediate_size);
    check("num_hidden_layers", config.num_hidden_layers, given.num_hidden_layers);
    check("tie_word_embeddings", config.tie_word_embeddings, given.tie_word_embeddings);
    model_.config = given;
  }

  void guess_heads() {
    for (const std::string& size : official_sizes()) {
      const ModelConfig official = official_config(size);
      if (official.hidden_size == model_.config.hidden_size)
        model_.config.num_attention_heads = official.num_attention_heads;
    }
    if (model_.config.num_attention_heads == 0) {
      fail("the tensors", "a width that tells the number of heads, or a config.json that says it",
           fmt::format("a width of {} that no published model has", model_.config.hidden_size),
           "Put a config.json with num_attention_heads into the checkpoint's folder and name the folder.");
    }
    model_.warnings.push_back(fmt::format(
        "the checkpoint does not tell the number of heads, rope_theta and rms_norm_eps: {}, {} and {} are "
        "taken, "
        "which the official code has at this width; a config.json in the checkpoint's folder says others",
        model_.config.num_attention_heads, model_.config.rope_theta, model_.config.rms_norm_eps));
  }

  void bring(std::string gguf, const std::string& name, JaxAxes axes, Shape shape, bool is_matrix) {
    const Shape wanted = in_jax(axes, shape);
    const auto entry = index_.find(name);
    if (entry == index_.end()) {
      fail(name, weights::to_string(wanted), "no such tensor",
           "The checkpoint is incomplete: write or download it again.");
    }
    const ArchivedTensor& tensor = archive_.tensors()[entry->second];
    if (tensor.shape != wanted) {
      fail(name, weights::to_string(wanted), weights::to_string(tensor.shape),
           "Its layers contradict each other: write or download the checkpoint again.");
    }
    if (!weights::is_weight_type(tensor.dtype) || weights::is_block_type(tensor.dtype)) {
      fail(name, "type F32, F16 or BF16", weights::dtype_info(tensor.dtype).name,
           "Save the checkpoint in one of these types.");
    }
    sources_.emplace(gguf, std::pair(entry->second, axes == JaxAxes::kReversed));
    model_.tensors.push_back(
        {.view = {.name = std::move(gguf), .dtype = tensor.dtype, .shape = std::move(shape), .bytes = {}},
         .is_matrix = is_matrix});
    index_.erase(entry);
  }

  // What is left when every weight was taken: silently leaving it out would give wrong text.
  void refuse_unused() const {
    if (index_.empty()) return;
    fail(index_.begin()->first, "only tensors of a Llama as its first layer describes it", "one more",
         "This is a model of another kind, or its layers differ from each other.");
  }

  const TensorArchive& archive_;
  const ImportOptions& options_;
  AttentionModel model_;
  std::map<std::string, std::size_t, std::less<>> index_;  // into archive_.tensors()
  std::map<std::string, std::pair<std::size_t, bool>, std::less<>>
      sources_;  // by GGUF name: index, transposed
};

weights::GgufMetadata llama_keys(const ModelConfig& config) {
  weights::GgufMetadata metadata;
  const auto add = [&](std::string_view key, weights::GgufValue value) {
    metadata.emplace_back(std::string(key), std::move(value));
  };
  const auto u32 = [](std::size_t value) { return static_cast<std::uint32_t>(value); };
  add("general.architecture", std::string("llama"));
  if (!config.name.empty()) add("general.name", config.name);
  add("llama.vocab_size", u32(config.vocab_size));
  add("llama.context_length", u32(config.context_length));
  add("llama.embedding_length", u32(config.hidden_size));
  add("llama.block_count", u32(config.num_hidden_layers));
  add("llama.feed_forward_length", u32(config.intermediate_size));
  add("llama.rope.dimension_count", u32(config.head_size()));
  add("llama.rope.freq_base", config.rope_theta);
  add("llama.attention.head_count", u32(config.num_attention_heads));
  add("llama.attention.head_count_kv", u32(config.num_attention_heads));
  add("llama.attention.layer_norm_rms_epsilon", config.rms_norm_eps);
  if (config.bos_token_id)
    add("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(*config.bos_token_id));
  if (config.eos_token_id)
    add("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(*config.eos_token_id));
  return metadata;
}

}  // namespace

bool is_attention_baseline(const TensorArchive& archive) {
  const auto has = [&](weights::TensorView W::*view) {
    const std::string name = jax_name(row_of(view), 0);
    return std::ranges::any_of(archive.tensors(), [&](const auto& tensor) { return tensor.name == name; });
  };
  return has(&W::attn_q) && has(&W::attn_k) && !has(&W::inner_1_weight);
}

AttentionModel import_attention(const TensorArchive& archive, const ImportOptions& options) {
  return AttentionImporter(archive, options).import();
}

ConvertResult convert_attention(const AttentionModel& model, const tokenizer::Tokenizer* tokenizer,
                                const std::string& output, const ConvertOptions& options) {
  weights::GgufMetadata metadata = llama_keys(model.config);
  if (tokenizer == nullptr) {
    metadata.emplace_back("tokenizer.ggml.model", std::string("no_vocab"));
  } else {
    if (!std::cmp_equal(tokenizer->vocab_size(), model.config.vocab_size)) {
      weights::refuse(
          {.file = model.weights.source,
           .where = "tokenizer",
           .wanted = fmt::format("{} pieces, as many as the embedding has", model.config.vocab_size),
           .found = fmt::format("{}", tokenizer->vocab_size()),
           .remedy = "llama.cpp opens no other file; leave the tokenizer out, or give the right one."});
    }
    append_tokenizer(*tokenizer, metadata);
  }
  return write_tensors(model.weights, model.tensors, std::move(metadata), {}, output, options);
}

}  // namespace ttt
