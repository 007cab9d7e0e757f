// SPDX-License-Identifier: Apache-2.0
// A model from a checkpoint in a training format: names and axes of JAX or of PyTorch, a configuration that
// the tensors themselves tell. For converting only: the weights are fetched one at a time.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "engine/model.h"
#include "weights/tensor_archive.h"

namespace ttt {

struct ImportOptions {
  std::string size = {};              // one of official_sizes(), which the tensors must have; empty: any
  std::optional<float> base_lr = {};  // the inner base learning rate, which no tensor tells
  std::string config_json = {};       // of a config.json beside the checkpoint; empty: none
  std::string config_path = {};       // for messages
};

// The model borrows from `archive`. What no tensor tells (base learning rate, rotary base, epsilon) comes
// from the options, the first of them that knows: base_lr, config_json, size; else it is what the official
// code has, and a warning says so. Throws weights::CheckpointError as load_model does, also where the tensors
// contradict the options.
Model import_model(const weights::TensorArchive& archive, const ImportOptions& options);

// Which of official_sizes() has this shape; empty for none.
std::string_view official_size_of(const ModelConfig& config);

}  // namespace ttt
