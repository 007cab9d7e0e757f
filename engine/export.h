// SPDX-License-Identifier: Apache-2.0
// Any model -> the files of a Hugging Face folder: model.safetensors, config.json and tokenizer.model, as the
// official PyTorch code reads them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/model.h"
#include "tokenizer/tokenizer.h"
#include "weights/tensor.h"

namespace ttt {

// A weight under its Hugging Face name, with that shape.
struct ExportedTensor {
  std::string name;
  weights::Shape shape;
  weights::DType type = weights::DType::kF32;
  const weights::TensorView* view = nullptr;  // in the model
};

// Every weight once, a tied head not at all. A matrix keeps its type, but a quantised one becomes F32. Small
// tensors are F32; where all matrices are of one 16-bit type that holds every value of every small tensor
// too, they get that type: the checkpoint had it, and has it again. Reads the small tensors.
std::vector<ExportedTensor> list_exported(const Model& model);

// The text of a config.json, from which config_from_json gives `config` again.
std::string config_to_json(const ModelConfig& config, weights::DType type);

struct ExportFiles {
  std::string tensors, config, tokenizer;  // paths to write
};

// Writes the files, the tokenizer only where there is one (it may be null). `progress` as in convert.h;
// returns false if it gave up: then tensors and config are not there. Throws weights::CheckpointError,
// std::system_error.
bool export_model(const Model& model, const std::vector<ExportedTensor>& tensors,
                  const tokenizer::Tokenizer* tokenizer, const ExportFiles& files,
                  const std::function<bool(std::uint64_t written, std::uint64_t total)>& progress);

}  // namespace ttt
