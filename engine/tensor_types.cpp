// SPDX-License-Identifier: Apache-2.0
#include "engine/tensor_types.h"

#include <fnmatch.h>

#include <algorithm>
#include <string>
#include <utility>

#include "weights/block_types.h"

namespace ttt {
namespace {

using weights::DType;

bool matches(const KeptType& kept, std::string_view name) {
  return ::fnmatch(kept.pattern.c_str(), std::string(name).c_str(), 0) == 0;
}

DType wanted_type(const TensorTypes& types, std::string_view name) {
  for (const KeptType& kept : types.kept) {
    if (matches(kept, name)) return kept.type;
  }
  const bool is_end = name == "token_embd.weight" || name == "output.weight";
  if (is_end && types.matrices == DType::kQ4_0) return DType::kQ8_0;
  if (is_end && types.matrices == DType::kQ4_K) return DType::kQ6_K;
  return types.matrices;
}

// What a row gets that is no whole number of blocks of a type.
DType smaller_blocks(DType type) {
  if (type == DType::kQ4_K) return DType::kQ4_0;
  if (type == DType::kQ6_K) return DType::kQ8_0;
  return DType::kF16;
}

}  // namespace

DType stored_type(const TensorTypes& types, std::string_view name, const weights::Shape& shape,
                  bool is_matrix) {
  if (!is_matrix) return DType::kF32;
  DType type = wanted_type(types, name);
  while (shape.back() % weights::dtype_info(type).block_elements != 0) type = smaller_blocks(type);
  return type;
}

Model without_bytes(const ModelConfig& config, const TensorTypes& types) {
  return assemble_model(config, [&](std::string name, weights::Shape shape, bool is_matrix) {
    const DType type = stored_type(types, name, shape, is_matrix);
    return weights::TensorView{
        .name = std::move(name), .dtype = type, .shape = std::move(shape), .bytes = {}};
  });
}

bool is_quantised(const Model& model) {
  return std::ranges::any_of(list_tensors(model), [](const NamedTensor& tensor) {
    return weights::is_block_type(tensor.view.dtype);
  });
}

std::string_view unmatched_pattern(const TensorTypes& types, const Model& model) {
  const std::vector<NamedTensor> tensors = list_tensors(model);
  for (const KeptType& kept : types.kept) {
    const bool matched = std::ranges::any_of(tensors, [&](const NamedTensor& tensor) {
      return tensor.is_matrix && matches(kept, tensor.view.name);
    });
    if (!matched) return kept.pattern;
  }
  return {};
}

}  // namespace ttt
