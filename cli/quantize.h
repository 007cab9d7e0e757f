// SPDX-License-Identifier: Apache-2.0
// `ttt quantize`: a model with its matrices in fewer bits, and what that costs.
#pragma once

#include <string>
#include <vector>

#include "engine/convert.h"

namespace ttt::cli {

struct QuantizeOptions {
  std::string source;  // a .gguf file or a Hugging Face folder
  std::string output;
  std::string type = "q8_0";      // of the matrices: q8_0, q6_k, q4_k, q4_0, f16, bf16
  std::vector<std::string> keep;  // PATTERN=TYPE
  bool requantize = false;
  bool force = false;
  bool report = false;
  std::string format = "md";  // of the report
};

// What the new file holds.
struct QuantizeReport {
  std::string source, output;
  std::uint64_t file_bytes = 0;
  std::string weights_hash;
  std::vector<ConvertedTensor> tensors;
};

int quantize(const QuantizeOptions& options);

// The report for people: a Markdown table of the types, and one of the matrices.
std::string to_markdown(const QuantizeReport& report);

// "output*=q8_0". Throws UsageError.
KeptType parse_kept_type(const std::string& text);

}  // namespace ttt::cli
