// SPDX-License-Identifier: Apache-2.0
// Which type each weight of a model gets when it is written: the one place that says so.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/model.h"
#include "weights/tensor.h"

namespace ttt {

// Matrices whose GGUF name matches the pattern (*, ? and [...], as in a shell) get this type.
struct KeptType {
  std::string pattern;
  weights::DType type;
};

struct TensorTypes {
  weights::DType matrices = weights::DType::kF32;
  std::vector<KeptType> kept = {};  // the first that matches counts
};

// Small tensors are F32. A matrix gets the type that is kept for it, else that of all matrices, but Q8_0 in
// place of Q4_0 and Q6_K in place of Q4_K for the embedding and the output head: an embedding's error enters
// the residual stream as it is, and a head's the logits. A row that is no whole number of blocks has the next
// type that divides it: Q4_K, Q4_0, F16; Q6_K, Q8_0, F16.
weights::DType stored_type(const TensorTypes& types, std::string_view name, const weights::Shape& shape,
                           bool is_matrix);
inline weights::DType stored_type(const TensorTypes& types, const NamedTensor& tensor) {
  return stored_type(types, tensor.view.name, tensor.view.shape, tensor.is_matrix);
}

// A model of such weights whose views have no bytes: to plan with.
Model without_bytes(const ModelConfig& config, const TensorTypes& types);

// True where some matrix of the model is quantised already.
bool is_quantised(const Model& model);

// The first pattern that no matrix of the model matches; empty if there is none.
std::string_view unmatched_pattern(const TensorTypes& types, const Model& model);

}  // namespace ttt
