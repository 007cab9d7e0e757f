// SPDX-License-Identifier: Apache-2.0
// Any checkpoint that load_model() understands -> one GGUF file with its tokenizer inside.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "engine/model.h"
#include "tokenizer/tokenizer.h"
#include "weights/checkpoint.h"

namespace ttt {

struct ConvertOptions {
  weights::DType matrix_type = weights::DType::kF32;  // F32, F16 or BF16; small tensors stay F32
  // Called after each piece with the bytes written and the bytes in all; return false to give up: then
  // nothing is left behind.
  std::function<bool(std::uint64_t written, std::uint64_t total)> progress;
};

struct ConvertResult {
  bool completed = false;  // false: progress() gave up
  std::uint64_t file_bytes = 0;
  std::string weights_hash;
};

// One pass, a few MiB of memory whatever the model's size. The file appears whole or not at all. Throws
// weights::CheckpointError, std::system_error (disk full ...). `tokenizer` may be null.
ConvertResult convert(const weights::Checkpoint& checkpoint, const Model& model,
                      const tokenizer::Tokenizer* tokenizer, const std::string& output,
                      const ConvertOptions& options);

}  // namespace ttt
