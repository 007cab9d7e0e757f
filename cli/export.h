// SPDX-License-Identifier: Apache-2.0
// `ttt export`: a model back to a Hugging Face folder.
#pragma once

#include <string>

namespace ttt::cli {

struct ExportOptions {
  std::string model;  // a .gguf file or a Hugging Face folder
  std::string output;
  bool dequantize = false;  // write quantised matrices as F32 instead of refusing them
};

int export_folder(const ExportOptions& options);

}  // namespace ttt::cli
