// SPDX-License-Identifier: Apache-2.0
// The one table of tensor names. A row says how a weight is called in a GGUF file and in a Hugging Face
// checkpoint, its shape in both, and when it is there. Loading, listing, hashing and converting read it.
#include "engine/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "engine/tokenizer_metadata.h"
#include "weights/checkpoint_error.h"

namespace ttt {
namespace {

using weights::Checkpoint;
using weights::CheckpointFormat;
using weights::DType;
using weights::Shape;
using weights::TensorView;

// Extents by symbol; kOne is an axis that exists in the Hugging Face shape alone.
enum class Extent { kOne, kVocab, kWidth, kFeedForward, kHeads, kHeadSize, kInner, kMiniBatch, kConv };

enum class When { kAlways, kPreConv, kShareQk, kSeparateQk, kGate, kMlp };

struct LayerTensor {
  std::string_view gguf;  // after "blk.N."
  std::string_view hf;    // after "model.layers.N."
  TensorView LayerWeights::*view;
  std::vector<Extent> hf_shape;  // the GGUF shape is this without kOne
  When when;
  bool is_matrix;
};

struct ModelTensor {
  std::string_view gguf;
  std::string_view hf;
  TensorView Model::*view;
  std::vector<Extent> shape;
  bool is_matrix;
};

using enum Extent;
using W = LayerWeights;

const std::vector<ModelTensor>& model_tensors() {
  static const std::vector<ModelTensor> table = {
      {"token_embd.weight", "model.embed_tokens.weight", &Model::token_embd, {kVocab, kWidth}, true},
      {"output_norm.weight", "model.norm.weight", &Model::output_norm, {kWidth}, false},
      {"output.weight", "lm_head.weight", &Model::output, {kVocab, kWidth}, true},
  };
  return table;
}

const std::vector<LayerTensor>& layer_tensors() {
  static const std::vector<LayerTensor> table = {
      {"ttt_pre_conv_norm.weight", "conv.norm.weight", &W::pre_conv_norm, {kWidth}, When::kPreConv, false},
      {"ttt_pre_conv.weight",
       "conv.conv.weight",
       &W::pre_conv_weight,
       {kWidth, kOne, kConv},
       When::kPreConv,
       false},
      {"ttt_pre_conv.bias", "conv.conv.bias", &W::pre_conv_bias, {kWidth}, When::kPreConv, false},
      {"attn_norm.weight", "seq_norm.weight", &W::attn_norm, {kWidth}, When::kAlways, false},
      {"attn_q.weight",
       "seq_modeling_block.q_proj.weight",
       &W::attn_q,
       {kWidth, kWidth},
       When::kAlways,
       true},
      {"attn_k.weight",
       "seq_modeling_block.k_proj.weight",
       &W::attn_k,
       {kWidth, kWidth},
       When::kSeparateQk,
       true},
      {"attn_v.weight",
       "seq_modeling_block.v_proj.weight",
       &W::attn_v,
       {kWidth, kWidth},
       When::kAlways,
       true},
      {"attn_output.weight",
       "seq_modeling_block.o_proj.weight",
       &W::attn_output,
       {kWidth, kWidth},
       When::kAlways,
       true},
      {"ttt_gate.weight", "seq_modeling_block.g_proj.weight", &W::gate, {kWidth, kWidth}, When::kGate, true},
      {"ttt_conv_q.weight",
       "seq_modeling_block.conv_q.weight",
       &W::conv_q_weight,
       {kWidth, kOne, kConv},
       When::kShareQk,
       false},
      {"ttt_conv_q.bias", "seq_modeling_block.conv_q.bias", &W::conv_q_bias, {kWidth}, When::kShareQk, false},
      {"ttt_conv_k.weight",
       "seq_modeling_block.conv_k.weight",
       &W::conv_k_weight,
       {kWidth, kOne, kConv},
       When::kShareQk,
       false},
      {"ttt_conv_k.bias", "seq_modeling_block.conv_k.bias", &W::conv_k_bias, {kWidth}, When::kShareQk, false},
      {"ttt_lr.weight",
       "seq_modeling_block.learnable_ttt_lr_weight",
       &W::lr_weight,
       {kHeads, kOne, kWidth},
       When::kAlways,
       false},
      {"ttt_lr.bias",
       "seq_modeling_block.learnable_ttt_lr_bias",
       &W::lr_bias,
       {kHeads, kOne},
       When::kAlways,
       false},
      {"ttt_token_idx.weight",
       "seq_modeling_block.learnable_token_idx",
       &W::token_idx,
       {kMiniBatch},
       When::kAlways,
       false},
      {"ttt_inner_1.weight",
       "seq_modeling_block.W1",
       &W::inner_1_weight,
       {kHeads, kHeadSize, kInner},
       When::kAlways,
       false},
      {"ttt_inner_1.bias",
       "seq_modeling_block.b1",
       &W::inner_1_bias,
       {kHeads, kOne, kInner},
       When::kAlways,
       false},
      {"ttt_inner_2.weight",
       "seq_modeling_block.W2",
       &W::inner_2_weight,
       {kHeads, kInner, kHeadSize},
       When::kMlp,
       false},
      {"ttt_inner_2.bias",
       "seq_modeling_block.b2",
       &W::inner_2_bias,
       {kHeads, kOne, kHeadSize},
       When::kMlp,
       false},
      {"ttt_inner_norm.weight",
       "seq_modeling_block.ttt_norm_weight",
       &W::inner_norm_weight,
       {kHeads, kHeadSize},
       When::kAlways,
       false},
      {"ttt_inner_norm.bias",
       "seq_modeling_block.ttt_norm_bias",
       &W::inner_norm_bias,
       {kHeads, kHeadSize},
       When::kAlways,
       false},
      {"ttt_post_norm.weight",
       "seq_modeling_block.post_norm.weight",
       &W::post_norm_weight,
       {kWidth},
       When::kAlways,
       false},
      {"ttt_post_norm.bias",
       "seq_modeling_block.post_norm.bias",
       &W::post_norm_bias,
       {kWidth},
       When::kAlways,
       false},
      {"ffn_norm.weight", "ffn_norm.weight", &W::ffn_norm, {kWidth}, When::kAlways, false},
      {"ffn_gate.weight", "mlp.gate_proj.weight", &W::ffn_gate, {kFeedForward, kWidth}, When::kAlways, true},
      {"ffn_up.weight", "mlp.up_proj.weight", &W::ffn_up, {kFeedForward, kWidth}, When::kAlways, true},
      {"ffn_down.weight", "mlp.down_proj.weight", &W::ffn_down, {kWidth, kFeedForward}, When::kAlways, true},
  };
  return table;
}

bool applies(When when, const ModelConfig& config) {
  switch (when) {
    case When::kAlways:
      return true;
    case When::kPreConv:
      return config.pre_conv;
    case When::kShareQk:
      return config.share_qk;
    case When::kSeparateQk:
      return !config.share_qk;
    case When::kGate:
      return config.use_gate;
    case When::kMlp:
      return config.is_mlp();
  }
  return false;
}

std::string_view field_of(When when) {
  switch (when) {
    case When::kPreConv:
      return "pre_conv";
    case When::kShareQk:
    case When::kSeparateQk:
      return "share_qk";
    case When::kGate:
      return "use_gate";
    case When::kMlp:
      return "ttt_layer_type";
    case When::kAlways:
      break;
  }
  return "";
}

std::uint64_t extent_of(Extent extent, const ModelConfig& config) {
  switch (extent) {
    case kOne:
      return 1;
    case kVocab:
      return config.vocab_size;
    case kWidth:
      return config.hidden_size;
    case kFeedForward:
      return config.intermediate_size;
    case kHeads:
      return config.num_attention_heads;
    case kHeadSize:
      return config.head_size();
    case kInner:
      return config.inner_size();
    case kMiniBatch:
      return config.mini_batch_size;
    case kConv:
      return config.conv_kernel;
  }
  return 0;
}

Shape resolve(const std::vector<Extent>& extents, const ModelConfig& config, bool keep_ones) {
  Shape shape;
  for (const Extent extent : extents) {
    if (extent != kOne || keep_ones) shape.push_back(extent_of(extent, config));
  }
  return shape;
}

std::string gguf_layer_name(const LayerTensor& tensor, std::size_t layer) {
  return fmt::format("blk.{}.{}", layer, tensor.gguf);
}

// Finds tensors by name, checks them, and remembers which ones were asked for.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const ModelConfig& config)
      : checkpoint_(checkpoint), config_(config), is_gguf_(checkpoint.format() == CheckpointFormat::kGguf) {}

  std::string layer_name(const LayerTensor& tensor, std::size_t layer) const {
    return is_gguf_ ? gguf_layer_name(tensor, layer) : fmt::format("model.layers.{}.{}", layer, tensor.hf);
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
    const bool is_float =
        tensor.dtype == DType::kF32 || tensor.dtype == DType::kF16 || tensor.dtype == DType::kBF16;
    // A folder may hold everything in 16 bits; our own files keep small tensors in F32.
    if (is_float && (is_matrix || !is_gguf_ || tensor.dtype == DType::kF32)) return;
    weights::refuse({.file = checkpoint_.file_of(tensor),
                     .where = tensor.name,
                     .wanted = is_gguf_ && !is_matrix ? "type F32" : "type F32, F16 or BF16",
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

void collect_warnings(Model& model) {
  const ModelConfig& config = model.config;
  if (config.is_mlp() && config.ttt_base_lr == 1.0F) {
    model.warnings.push_back(
        "ttt_base_lr is 1.0 for a TTT-MLP model; published ones were trained with 0.1. "
        "If the text is poor, correct ttt_base_lr in config.json and convert again.");
  }
}

}  // namespace

Model load_model(const Checkpoint& checkpoint) {
  Model model;
  model.source = checkpoint.path();
  model.release = [&checkpoint](std::span<const std::byte> part) { checkpoint.release(part); };
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
  collect_warnings(model);
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
          provide(gguf_layer_name(tensor, layer), resolve(tensor.hf_shape, config, false), tensor.is_matrix);
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
      add(gguf_layer_name(tensor, layer), model.layers[layer].*tensor.view, tensor.is_matrix);
    }
  }
  std::ranges::sort(list, {},
                    [](const NamedTensor& tensor) -> const std::string& { return tensor.view.name; });
  return list;
}

}  // namespace ttt
