// SPDX-License-Identifier: Apache-2.0
// Any model -> one GGUF file with its tokenizer inside.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "engine/model.h"
#include "tokenizer/tokenizer.h"
#include "weights/gguf.h"

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

// One pass, a few MiB of memory whatever the model's size; besides, where weights are fetched, the largest of
// them twice. The file appears whole or not at all. Throws
// weights::CheckpointError, std::system_error (disk full ...). `tokenizer` may be null.
// `source`: the metadata of the file that the model came from, if it was GGUF; what it says about itself goes
// along.
ConvertResult convert(const Model& model, const weights::GgufMetadata& source,
                      const tokenizer::Tokenizer* tokenizer, const std::string& output,
                      const ConvertOptions& options);

}  // namespace ttt
