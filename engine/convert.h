// SPDX-License-Identifier: Apache-2.0
// Any model -> one GGUF file with its tokenizer inside.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.h"
#include "engine/tensor_types.h"
#include "tokenizer/tokenizer.h"
#include "weights/gguf.h"

namespace ttt {

struct ConvertOptions {
  weights::DType matrix_type = weights::DType::kF32;  // a type of weights; small tensors stay F32
  std::vector<KeptType> kept = {};                    // matrices of another type (tensor_types.h)
  // Called after each piece with the bytes written and the bytes in all; return false to give up: then
  // nothing is left behind.
  std::function<bool(std::uint64_t written, std::uint64_t total)> progress = {};
  // Called with the path of the whole file before it gets its name; what it throws leaves nothing behind.
  std::function<void(const std::string& path)> check = {};
};

struct ConvertedTensor {
  std::string name;
  weights::Shape shape;
  weights::DType from = weights::DType::kF32, to = weights::DType::kF32;
  std::uint64_t bytes = 0;
  double relative_error = 0.0;  // rms of what was lost over the rms of the weights
};

struct ConvertResult {
  bool completed = false;  // false: progress() gave up
  std::uint64_t file_bytes = 0;
  std::string weights_hash;
  std::vector<ConvertedTensor> tensors;  // in the file's order
};

// Types are those of stored_type() (tensor_types.h). A weight that the new type cannot hold, or that is not
// finite where it would be quantised, is refused. One pass, a few MiB of memory whatever the model's size;
// besides, where weights are fetched, the largest of them twice.
// Where the model's file states its hash, weights of another hash are refused, when all were read.
// The file appears whole or not at all. Throws weights::CheckpointError, std::system_error (disk full ...).
// `tokenizer` may be null. `source`: the metadata of the file that the model came from, if it was GGUF; what
// it says about itself goes along.
ConvertResult convert(const Model& model, const weights::GgufMetadata& source,
                      const tokenizer::Tokenizer* tokenizer, const std::string& output,
                      const ConvertOptions& options);

// The same for tensors under metadata of any architecture, which get what convert() says of the file as a
// whole: size, types, hash. Of `model` only source, stated_hash, fetch and release count. `tokenizer`: as
// bytes, in a tensor; empty: none.
ConvertResult write_tensors(const Model& model, const std::vector<NamedTensor>& tensors,
                            weights::GgufMetadata metadata, std::string_view tokenizer,
                            const std::string& output, const ConvertOptions& options);

}  // namespace ttt
