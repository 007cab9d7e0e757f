// SPDX-License-Identifier: Apache-2.0
#include "engine/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "engine/tensor_pieces.h"
#include "engine/tensor_table.h"
#include "weights/atomic_file.h"
#include "weights/block_types.h"
#include "weights/element_type.h"
#include "weights/safetensors.h"
#include "weights/strict_json.h"
#include "weights/utf8.h"

namespace ttt {
namespace {

using weights::DType;

// The one 16-bit type that all matrices have.
std::optional<DType> narrow_type(const std::vector<NamedTensor>& tensors) {
  std::optional<DType> type;
  for (const NamedTensor& tensor : tensors) {
    if (!tensor.is_matrix) continue;
    if (type && *type != tensor.view.dtype) return std::nullopt;
    type = tensor.view.dtype;
  }
  return type == DType::kF16 || type == DType::kBF16 ? type : std::nullopt;
}

// True if every value is the same in that type, bit for bit.
bool holds(DType type, const Model& model, const weights::TensorView& view) {
  std::vector<std::byte> fetched;
  std::vector<float> values;
  std::vector<std::byte> narrow;
  return for_each_piece_as(with_bytes(model, view, fetched), DType::kF32,
                           [&](std::span<const std::byte>, std::span<const std::byte> bytes) {
                             values.resize(bytes.size() / sizeof(float));
                             narrow.resize(values.size() * weights::dtype_info(type).block_bytes);
                             std::memcpy(values.data(), bytes.data(), bytes.size());
                             weights::from_floats(type, values, narrow);
                             weights::to_floats(type, narrow, values);
                             return std::memcmp(values.data(), bytes.data(), bytes.size()) == 0;
                           });
}

void write_text(const std::string& path, std::string_view text) {
  weights::AtomicFile file(path);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace

std::vector<ExportedTensor> list_exported(const Model& model) {
  const std::vector<NamedTensor> named = list_tensors(model);
  std::optional<DType> narrow = narrow_type(named);
  for (const NamedTensor& tensor : named) {
    if (narrow && !tensor.is_matrix && !holds(*narrow, model, tensor.view)) narrow.reset();
  }
  std::vector<ExportedTensor> list;
  const auto add = [&](std::string name, const auto& row, const weights::TensorView& view,
                       weights::Shape shape) {
    const DType matrix_type = weights::is_block_type(view.dtype) ? DType::kF32 : view.dtype;
    list.push_back({.name = std::move(name),
                    .shape = std::move(shape),
                    .type = row.is_matrix ? matrix_type : narrow.value_or(DType::kF32),
                    .view = &view});
  };
  for (const ModelTensor& row : model_tensors()) {
    if (row.view == &Model::output && model.config.tie_word_embeddings) continue;
    add(std::string(row.hf), row, model.*row.view, resolve(row.shape, model.config, true));
  }
  for (std::size_t layer = 0; layer < model.layers.size(); ++layer) {
    for (const LayerTensor& row : layer_tensors()) {
      if (!applies(row.when, model.config)) continue;
      add(hf_name(row, layer), row, model.layers[layer].*row.view, resolve(row.hf_shape, model.config, true));
    }
  }
  return list;
}

std::string config_to_json(const ModelConfig& config, DType type) {
  std::string json = "{\n  \"architectures\": [\"TTTForCausalLM\"],\n  \"model_type\": \"ttt\"";
  const auto add = [&](std::string_view key, const auto& value) {
    json += fmt::format(",\n  \"{}\": {}", key, value);
  };
  add("torch_dtype", type == DType::kF16    ? "\"float16\""
                     : type == DType::kBF16 ? "\"bfloat16\""
                                            : "\"float32\"");
  if (!config.name.empty() && weights::is_utf8(config.name))
    add("_name_or_path", weights::json_quoted(config.name));
  add("vocab_size", config.vocab_size);
  add("hidden_size", config.hidden_size);
  add("intermediate_size", config.intermediate_size);
  add("num_hidden_layers", config.num_hidden_layers);
  add("num_attention_heads", config.num_attention_heads);
  add("hidden_act", "\"silu\"");
  add("ttt_layer_type", fmt::format("\"{}\"", to_string(config.ttt_layer_type)));
  add("mini_batch_size", config.mini_batch_size);
  add("ttt_base_lr", config.ttt_base_lr);  // the shortest decimal that is this float
  add("rms_norm_eps", config.rms_norm_eps);
  add("rope_theta", config.rope_theta);
  add("pre_conv", config.pre_conv);
  add("share_qk", config.share_qk);
  add("use_gate", config.use_gate);
  add("conv_kernel", config.conv_kernel);
  add("tie_word_embeddings", config.tie_word_embeddings);
  add("max_position_embeddings", config.context_length);
  if (config.bos_token_id) add("bos_token_id", *config.bos_token_id);
  if (config.eos_token_id) add("eos_token_id", *config.eos_token_id);
  return json + "\n}\n";
}

bool export_model(const Model& model, const std::vector<ExportedTensor>& tensors,
                  const tokenizer::Tokenizer* tokenizer, const ExportFiles& files,
                  const std::function<bool(std::uint64_t written, std::uint64_t total)>& progress) {
  std::vector<weights::SafetensorsTensorInfo> infos;
  std::uint64_t total = 0;
  for (const ExportedTensor& tensor : tensors) {
    infos.push_back({tensor.name, tensor.type, tensor.shape});
    total += *weights::tensor_bytes(tensor.type, tensor.shape);
  }
  // The transformers library asks for this entry.
  weights::SafetensorsWriter writer(files.tensors, infos, {{"format", "pt"}});
  std::uint64_t written = 0;
  std::vector<std::byte> fetched;
  for (const ExportedTensor& tensor : tensors) {
    const auto write_piece = [&](std::span<const std::byte> source, std::span<const std::byte> bytes) {
      writer.write(bytes);
      if (model.release) model.release(source);
      written += bytes.size();
      return !progress || progress(written, total);
    };
    if (!for_each_piece_as(with_bytes(model, *tensor.view, fetched), tensor.type, write_piece)) return false;
  }
  const bool is_small_narrow =
      std::ranges::all_of(tensors, [&](const auto& tensor) { return tensor.type == tensors.front().type; });
  write_text(files.config,
             config_to_json(model.config, is_small_narrow ? tensors.front().type : DType::kF32));
  if (tokenizer != nullptr) write_text(files.tokenizer, tokenizer->model_bytes());
  writer.commit();
  return true;
}

}  // namespace ttt
