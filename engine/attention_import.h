// SPDX-License-Identifier: Apache-2.0
// The self-attention baseline of the official JAX code, which is a Llama, for other programs: this one
// computes TTT layers only. A file of it has architecture "llama", names and keys as llama.cpp reads them.
#pragma once

#include <string>
#include <vector>

#include "engine/convert.h"
#include "engine/import.h"
#include "engine/model.h"
#include "weights/gguf.h"
#include "weights/tensor_archive.h"

namespace ttt {

// Layers with projections, and no inner model.
bool is_attention_baseline(const weights::TensorArchive& archive);

struct AttentionModel {
  ModelConfig config;                 // without what only TTT layers have
  Model weights;                      // source and fetch alone
  std::vector<NamedTensor> tensors;   // in name order, without bytes
  std::vector<std::string> warnings;  // one sentence each
};

// Borrows from `archive`. The number of heads, the rotary base and epsilon, which no tensor tells, come from
// the options' config_json, else from the official size of this width and with a warning. Channels of q and k
// need no permutation: the official code rotates neighbouring ones, and so does llama.cpp for this
// architecture. Throws weights::CheckpointError. REQUIRES: is_attention_baseline(archive).
AttentionModel import_attention(const weights::TensorArchive& archive, const ImportOptions& options);

// Writes it as convert() does a TTT model. A tokenizer goes in as lists alone, and must have as many pieces
// as the model has; null: none.
ConvertResult convert_attention(const AttentionModel& model, const tokenizer::Tokenizer* tokenizer,
                                const std::string& output, const ConvertOptions& options);

}  // namespace ttt
