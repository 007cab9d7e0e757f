// SPDX-License-Identifier: Apache-2.0
// `ttt bench`: how fast a model reads and writes, against the depth and the batch, beside what the machine
// could do at best.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/open_model.h"

namespace ttt::cli {

struct BenchOptions {
  ModelOptions model;
  std::optional<std::string> random;  // an official size in place of a model
  std::string type = "f32";           // of its matrices
  std::optional<std::string> write;   // its .gguf file
  bool force = false;

  std::string prefill = "512";  // comma lists; 2k and 32K are understood; empty or 0: none
  std::string depth = "0";
  std::string batch = "1";
  std::int64_t decode = 64;  // tokens of each repetition; 0: none
  std::int64_t repetitions = 5;
  std::int64_t prefill_repetitions = 0;  // 0: as many as repetitions
  std::string output = "md";
  std::optional<std::string> compare;  // an earlier report in JSON
};

// Prints and returns the exit code. After a signal the rows that are complete are printed.
int bench(const BenchOptions& options);

}  // namespace ttt::cli
