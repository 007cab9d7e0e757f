// SPDX-License-Identifier: Apache-2.0
// `ttt convert`: a checkpoint to one GGUF file.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/verify.h"
#include "engine/convert.h"
#include "engine/model.h"
#include "tokenizer/tokenizer.h"
#include "weights/gguf.h"
#include "weights/tensor.h"

namespace ttt::cli {

struct ConvertCommandOptions {
  std::string source;  // a Hugging Face folder, a .gguf file, or a JAX or PyTorch checkpoint or its folder
  std::string output;
  std::string type = "f32";              // of the matrices: f32, f16, bf16, q8_0, q6_k, q4_k, q4_0
  std::optional<std::string> preset;     // the official size that an import must have
  double base_lr = 0.0;                  // of an import; 0: as the checkpoint, its folder or the preset says
  std::optional<std::string> tokenizer;  // whose tokenizer to put in; empty: the source's own
  bool dry_run = false;                  // say what would be done, write nothing
  bool verify = false;  // read the file again before it gets its name; a reference implies it
  VerifyOptions verification = {};
  bool force = false;
};

int convert(const ConvertCommandOptions& options);

// Writes any model as `ttt convert` does: room on the disk is checked first, progress is shown, a signal
// gives up and leaves nothing (Interrupted). `tokenizer` may be null. `check`: as in ConvertOptions.
ConvertResult write_gguf(const Model& model, const weights::GgufMetadata& source,
                         const tokenizer::Tokenizer* tokenizer, const std::string& output,
                         const TensorTypes& types,
                         const std::function<void(const std::string& path)>& check = {});

// Throws UsageError where `output` is one of the files that are read, under whatever name, or lies in a
// folder that is read. Empty names are none.
void refuse_input_as_output(const std::string& output, const std::vector<std::string>& inputs);

// Weights that are rounded twice are worse than those rounded once from the original. Throws UsageError.
void refuse_quantised(const Model& model);

}  // namespace ttt::cli
