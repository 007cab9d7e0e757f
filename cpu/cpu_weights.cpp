// SPDX-License-Identifier: Apache-2.0
#include "cpu/cpu_weights.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include "engine/tensor_pieces.h"
#include "engine/weight_values.h"
#include "weights/element_type.h"

namespace ttt::cpu {
namespace {

using weights::TensorView;

// The matrices of a layer in the order that prepare() makes them in, which is that of a packed file.
constexpr TensorView LayerWeights::*kMatrices[] = {
    &LayerWeights::attn_q,   &LayerWeights::attn_k,      &LayerWeights::attn_v,
    &LayerWeights::gate,     &LayerWeights::attn_output, &LayerWeights::lr_weight,
    &LayerWeights::ffn_gate, &LayerWeights::ffn_up,      &LayerWeights::ffn_down};
constexpr PackedMatrix CpuLayerWeights::*kPackedMatrices[] = {
    &CpuLayerWeights::attn_q,   &CpuLayerWeights::attn_k,      &CpuLayerWeights::attn_v,
    &CpuLayerWeights::gate,     &CpuLayerWeights::attn_output, &CpuLayerWeights::lr_weight,
    &CpuLayerWeights::ffn_gate, &CpuLayerWeights::ffn_up,      &CpuLayerWeights::ffn_down};
static_assert(std::size(kMatrices) == std::size(kPackedMatrices));

std::vector<TensorView> list_matrix_tensors(const Model& model) {
  std::vector<TensorView> tensors;
  for (const LayerWeights& layer : model.layers) {
    for (const auto matrix : kMatrices) {
      if (!(layer.*matrix).bytes.empty()) tensors.push_back(layer.*matrix);
    }
  }
  tensors.push_back(model.output);
  return tensors;
}

// All matrices together: in a small model nearly all are too small for large pages of their own.
LargeBuffer allocate_matrices(std::span<const TensorView> tensors) {
  std::uint64_t bytes = 0;
  for (const TensorView& tensor : tensors) bytes += aligned(PackedMatrix::planned_bytes(tensor));
  return allocate_large(bytes);
}

// Those that are large: every other one that is not a matrix has a few pages.
void release_fast_weights(const Model& model, const LayerWeights& layer) {
  if (!model.release) return;
  model.release(layer.inner_1_weight.bytes);
  model.release(layer.inner_2_weight.bytes);
}

// Packs one matrix behind another, or takes it from the file of those that were packed before; an absent
// tensor gives an absent matrix.
class Packer {
 public:
  Packer(const Model& model, ThreadPool& pool, std::optional<PackedFile>& file, std::byte* to)
      : model_(model), pool_(pool), file_(file), next_(to) {}
  PackedMatrix operator()(const TensorView& tensor) {
    if (tensor.bytes.empty()) return {};
    PackedMatrix matrix = file_ ? file_->next(tensor) : pack(tensor);
    if (model_.release) model_.release(tensor.bytes);
    return matrix;
  }

 private:
  PackedMatrix pack(const TensorView& tensor) {
    PackedMatrix matrix(with_bytes(model_, tensor, fetched_), pool_, next_);
    next_ += aligned(matrix.bytes());
    return matrix;
  }

  const Model& model_;
  ThreadPool& pool_;
  std::optional<PackedFile>& file_;
  std::byte* next_;  // of all matrices' memory; null where they come from the file
  std::vector<std::byte> fetched_;
};

CpuLayerWeights prepare(const Model& model, const LayerWeights& layer, Packer& packed) {
  return {
      .pre_conv_norm = floats_of(model, layer.pre_conv_norm),
      .pre_conv_weight = conv_taps(model, layer.pre_conv_weight),
      .pre_conv_bias = floats_of(model, layer.pre_conv_bias),
      .attn_norm = floats_of(model, layer.attn_norm),
      .attn_q = packed(layer.attn_q),
      .attn_k = packed(layer.attn_k),
      .attn_v = packed(layer.attn_v),
      .gate = packed(layer.gate),
      .attn_output = packed(layer.attn_output),
      .conv_q_weight = conv_taps(model, layer.conv_q_weight),
      .conv_q_bias = floats_of(model, layer.conv_q_bias),
      .conv_k_weight = conv_taps(model, layer.conv_k_weight),
      .conv_k_bias = floats_of(model, layer.conv_k_bias),
      .lr_weight = packed(layer.lr_weight),
      .lr_bias = floats_of(model, layer.lr_bias),
      .token_eta = ttt::token_eta(model, layer),
      .initial_fast_weights = ttt::initial_fast_weights(model, layer),
      .inner_norm_weight = floats_of(model, layer.inner_norm_weight),
      .inner_norm_bias = floats_of(model, layer.inner_norm_bias),
      .post_norm_weight = floats_of(model, layer.post_norm_weight),
      .post_norm_bias = floats_of(model, layer.post_norm_bias),
      .ffn_norm = floats_of(model, layer.ffn_norm),
      .ffn_gate = packed(layer.ffn_gate),
      .ffn_up = packed(layer.ffn_up),
      .ffn_down = packed(layer.ffn_down),
  };
}

std::size_t bytes_of(const CpuLayerWeights& layer) {
  std::size_t floats = 0;
  for (const auto* part :
       {&layer.pre_conv_norm, &layer.pre_conv_weight, &layer.pre_conv_bias, &layer.attn_norm,
        &layer.conv_q_weight, &layer.conv_q_bias, &layer.conv_k_weight, &layer.conv_k_bias, &layer.lr_bias,
        &layer.token_eta, &layer.initial_fast_weights, &layer.inner_norm_weight, &layer.inner_norm_bias,
        &layer.post_norm_weight, &layer.post_norm_bias, &layer.ffn_norm}) {
    floats += part->size();
  }
  std::size_t bytes = floats * sizeof(float);
  for (const auto matrix : kPackedMatrices) bytes += (layer.*matrix).bytes();
  return bytes;
}

}  // namespace

CpuWeights::CpuWeights(const Model& model, ThreadPool& pool, const std::optional<PackedCacheOptions>& options)
    : config(model.config),
      output_norm(floats_of(model, model.output_norm)),
      rope_table(make_rope_table(config.mini_batch_size, config.head_size(), config.rope_theta)) {
  const std::vector<TensorView> tensors = list_matrix_tensors(model);
  std::optional<PackedCache> cache;
  if (options) {
    cache.emplace(*options, model, tensors);
    if (auto found = cache->find(pool)) packed_file_.emplace(std::move(*found));
  }
  if (!packed_file_) packed_ = allocate_matrices(tensors);
  Packer packed(model, pool, packed_file_, packed_.get());
  layers.reserve(model.layers.size());
  for (const LayerWeights& layer : model.layers) {
    layers.push_back(prepare(model, layer, packed));
    release_fast_weights(model, layer);
  }
  output = packed(model.output);
  if (!config.tie_word_embeddings) token_embd_ = with_bytes(model, model.token_embd, fetched_embd_);
  bytes = (output_norm.size() + rope_table.size()) * sizeof(float) + output.bytes() + fetched_embd_.size();
  for (const CpuLayerWeights& layer : layers) bytes += bytes_of(layer);
  if (cache && !packed_file_) cache->store(list_matrices());
}

std::vector<const PackedMatrix*> CpuWeights::list_matrices() const {
  std::vector<const PackedMatrix*> matrices;
  for (const CpuLayerWeights& layer : layers) {
    for (const auto matrix : kPackedMatrices) {
      if ((layer.*matrix).num_outputs() > 0) matrices.push_back(&(layer.*matrix));
    }
  }
  matrices.push_back(&output);
  return matrices;
}

std::uint64_t CpuWeights::planned_bytes(const Model& model) {
  const ModelConfig& c = model.config;
  std::uint64_t bytes = c.mini_batch_size * c.head_size() * sizeof(float);  // the table of rotations
  for (const NamedTensor& tensor : list_tensors(model)) {
    const bool is_lr = tensor.view.name.ends_with("ttt_lr.weight");
    if (tensor.view.name == "token_embd.weight" && !c.tie_word_embeddings) {
      if (model.fetch) bytes += tensor.view.bytes.size();  // else it stays in the file
    } else if (tensor.is_matrix || is_lr) {
      bytes += PackedMatrix::planned_bytes(tensor.view);
    } else {
      bytes += *weights::num_elements(tensor.view.shape) * sizeof(float);
    }
  }
  return bytes;
}

std::uint64_t CpuWeights::planned_fetch_bytes(const Model& model) {
  if (!model.fetch) return 0;
  std::uint64_t largest = 0;
  for (const NamedTensor& tensor : list_tensors(model)) {
    largest = std::max<std::uint64_t>(largest, tensor.view.bytes.size());
  }
  return largest;
}

void CpuWeights::read_embedding(TokenId id, float* to) const {
  const auto row = static_cast<std::size_t>(id);
  if (token_embd_.bytes.empty()) return output.read_output(row, to);
  const std::size_t row_bytes = token_embd_.bytes.size() / config.vocab_size;
  weights::to_floats(token_embd_.dtype, token_embd_.bytes.subspan(row * row_bytes, row_bytes),
                     {to, config.hidden_size});
}

}  // namespace ttt::cpu
