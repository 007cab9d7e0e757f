// SPDX-License-Identifier: Apache-2.0
#include "engine/convert.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tensor_pieces.h"
#include "engine/tokenizer_metadata.h"
#include "engine/weights_hash.h"
#include "weights/block_types.h"
#include "weights/checkpoint_error.h"
#include "weights/gguf.h"

namespace ttt {
namespace {

using weights::DType;
using weights::GgufMetadata;

// The numbers of general.file_type as other readers know them.
std::uint32_t file_type(DType matrix_type) {
  switch (matrix_type) {
    case DType::kF16:
      return 1;
    case DType::kBF16:
      return 32;
    case DType::kQ8_0:
      return 7;
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_K:
      return 14;  // "mostly Q4_K, small"
    case DType::kQ6_K:
      return 18;
    default:
      return 0;
  }
}

std::string size_label(std::uint64_t num_parameters) {
  const auto count = static_cast<double>(num_parameters);
  return count >= 1e9 ? fmt::format("{:.1f}B", count / 1e9) : fmt::format("{:.0f}M", count / 1e6);
}

// Of another GGUF file's metadata; the rest is written anew.
bool is_carried(std::string_view key) {
  return key.starts_with("general.") || key == "tokenizer.ggml.add_bos_token" ||
         key == "tokenizer.chat_template";
}

// What a file says of itself whatever its architecture.
void append_general(const std::vector<NamedTensor>& tensors, DType matrix_type, GgufMetadata& metadata) {
  std::uint64_t num_parameters = 0;
  for (const NamedTensor& tensor : tensors) num_parameters += *weights::num_elements(tensor.view.shape);
  metadata.emplace_back("general.size_label", size_label(num_parameters));
  metadata.emplace_back("general.file_type", file_type(matrix_type));
  metadata.emplace_back("general.quantization_version", std::uint32_t{2});
  metadata.emplace_back("general.alignment", std::uint32_t{32});
  metadata.emplace_back(std::string(kWeightsHashKey), std::string(32, '0'));
}

std::vector<weights::GgufTensorInfo> make_tensor_infos(const std::vector<NamedTensor>& tensors,
                                                       std::string_view tokenizer, const TensorTypes& types) {
  std::vector<weights::GgufTensorInfo> infos;
  for (const NamedTensor& tensor : tensors) {
    infos.push_back({tensor.view.name, stored_type(types, tensor), tensor.view.shape});
  }
  if (!tokenizer.empty()) infos.push_back({std::string(kTokenizerTensor), DType::kI8, {tokenizer.size()}});
  return infos;
}

// Compares what is written of a tensor with what it was.
class Comparison {
 public:
  Comparison(const Model& model, const weights::TensorView& tensor, DType type)
      : model_(model), tensor_(tensor), type_(type) {}

  // F16 ends at 65504, BF16 a little below F32, and a scale is F16: a larger weight would silently become
  // infinite.
  void add(std::span<const std::byte> source, std::span<const std::byte> converted) {
    if (tensor_.dtype == type_) return;
    const weights::DTypeInfo& info = weights::dtype_info(tensor_.dtype);
    before_.resize(source.size() / info.block_bytes * info.block_elements);
    after_.resize(before_.size());
    weights::to_floats(tensor_.dtype, source, before_);
    weights::to_floats(type_, converted, after_);
    for (std::size_t i = 0; i < before_.size(); ++i) {
      if (!std::isfinite(after_[i]) && std::isfinite(before_[i])) refuse(before_[i]);
      if (!std::isfinite(before_[i]) && weights::is_block_type(type_)) refuse(before_[i]);
      const double value = static_cast<double>(before_[i]);
      const double lost = static_cast<double>(after_[i]) - value;
      squares_ += value * value;
      lost_squares_ += lost * lost;
    }
  }

  double relative_error() const { return lost_squares_ == 0.0 ? 0.0 : std::sqrt(lost_squares_ / squares_); }

 private:
  [[noreturn]] void refuse(float value) const {
    weights::refuse({.file = model_.source,
                     .where = tensor_.name,
                     .wanted = fmt::format("weights in the range of {}", weights::dtype_info(type_).name),
                     .found = fmt::format("{}", value),
                     .remedy = std::isfinite(value) ? "Use --type f32, or --type bf16 in place of f16."
                                                    : "The model is damaged: get its original again."});
  }

  const Model& model_;
  const weights::TensorView& tensor_;
  DType type_;
  std::vector<float> before_, after_;
  double squares_ = 0.0, lost_squares_ = 0.0;
};

}  // namespace

ConvertResult convert(const Model& model, const GgufMetadata& source, const tokenizer::Tokenizer* tokenizer,
                      const std::string& output, const ConvertOptions& options) {
  const std::vector<NamedTensor> tensors = list_tensors(model);
  GgufMetadata metadata;
  append_config(model.config, metadata);
  append_general(tensors, options.matrix_type, metadata);
  // What the source says about itself (licence, author, origin) and how text is to be read goes along.
  for (const auto& [key, value] : source) {
    if (is_carried(key) && weights::find(metadata, key) == nullptr) metadata.emplace_back(key, value);
  }
  if (tokenizer != nullptr) append_tokenizer(*tokenizer, metadata);
  return write_tensors(model, tensors, std::move(metadata),
                       tokenizer == nullptr ? std::string_view() : tokenizer->model_bytes(), output, options);
}

ConvertResult write_tensors(const Model& model, const std::vector<NamedTensor>& tensors,
                            GgufMetadata metadata, std::string_view tokenizer, const std::string& output,
                            const ConvertOptions& options) {
  const TensorTypes types{options.matrix_type, options.kept};
  const auto infos = make_tensor_infos(tensors, tokenizer, types);
  std::uint64_t total = 0;
  for (const auto& info : infos) total += *weights::tensor_bytes(info.dtype, info.shape);

  if (weights::find(metadata, kWeightsHashKey) == nullptr)
    append_general(tensors, options.matrix_type, metadata);
  weights::GgufWriter writer(output, metadata, infos);
  WeightsHash hash, source_hash;
  ConvertResult result;
  std::uint64_t written = 0;
  std::vector<std::byte> fetched;
  for (const NamedTensor& tensor : tensors) {
    const DType type = stored_type(types, tensor);
    hash.begin_tensor(tensor.view.name, type, tensor.view.shape);
    source_hash.begin_tensor(tensor.view.name, tensor.is_matrix ? tensor.view.dtype : type,
                             tensor.view.shape);
    Comparison comparison(model, tensor.view, type);
    const auto write_piece = [&](std::span<const std::byte> part, std::span<const std::byte> bytes) {
      comparison.add(part, bytes);
      hash.update(bytes);
      source_hash.update(tensor.is_matrix ? part : bytes);
      writer.write(bytes);
      if (model.release) model.release(part);
      written += bytes.size();
      return !options.progress || options.progress(written, total);
    };
    if (!for_each_piece_as(with_bytes(model, tensor.view, fetched), type, write_piece)) return {};
    result.tensors.push_back({.name = tensor.view.name,
                              .shape = tensor.view.shape,
                              .from = tensor.view.dtype,
                              .to = type,
                              .bytes = *weights::tensor_bytes(type, tensor.view.shape),
                              .relative_error = comparison.relative_error()});
  }
  check_stated_hash(model, source_hash.hex());
  writer.write(std::as_bytes(std::span(tokenizer)));
  result.weights_hash = hash.hex();
  writer.patch_string(kWeightsHashKey, result.weights_hash);
  writer.commit(options.check);
  result.completed = true;
  result.file_bytes = writer.file_bytes();
  return result;
}

}  // namespace ttt
