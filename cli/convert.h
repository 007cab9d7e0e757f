// SPDX-License-Identifier: Apache-2.0
// `ttt convert`: a checkpoint to one GGUF file.
#pragma once

#include <string>

namespace ttt::cli {

struct ConvertCommandOptions {
  std::string source;  // a Hugging Face folder or a .gguf file
  std::string output;
  std::string type = "f32";  // of the matrices: f32, f16, bf16
  bool force = false;
};

int convert(const ConvertCommandOptions& options);

}  // namespace ttt::cli
