// SPDX-License-Identifier: Apache-2.0
// `ttt quantize`: a model with its matrices in fewer bits, and what that costs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/prediction_comparison.h"
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
  std::string file;                    // a text to compare both models on; implies `report`; "-": stdin
  std::optional<std::int64_t> tokens;  // of the text, bos included; empty: all
  std::int64_t threads = 0;            // of the comparison; 0: what the machine allows
  std::string format = "md";           // of the report
};

// What the new file holds.
struct QuantizeReport {
  std::string source, output;
  std::uint64_t file_bytes = 0;
  std::string weights_hash;
  std::vector<ConvertedTensor> tensors;
  std::string file;  // the text that both were compared on
  std::optional<PredictionComparison> predictions;
};

int quantize(const QuantizeOptions& options);

// The report for people: Markdown tables of the types, of the matrices, and of what both models predict.
std::string to_markdown(const QuantizeReport& report);

// "output*=q8_0". Throws UsageError.
KeptType parse_kept_type(const std::string& text);

}  // namespace ttt::cli
