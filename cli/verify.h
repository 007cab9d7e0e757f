// SPDX-License-Identifier: Apache-2.0
// `ttt convert --verify`: reads the file that was written again and proves that it holds the model.
#pragma once

#include <cstddef>
#include <string>

#include "engine/model.h"
#include "engine/tensor_types.h"
#include "tokenizer/tokenizer.h"

namespace ttt::cli {

struct VerifyOptions {
  std::string reference;   // a safetensors file with logits; empty: none
  double max_error = 0.0;  // of the logits, over their rms; 0: kLogitsBound where no weight was rounded
};

// What a converted file was made from.
struct Original {
  const Model& model;
  const tokenizer::Tokenizer* tokenizer;  // may be null
  TensorTypes types;
};

// Before work begins that a reference would make vain. No reference passes. Throws std::runtime_error naming
// the option where it is no file with ids and logits for such a vocabulary.
void check_reference(const VerifyOptions& options, std::size_t vocab_size);

// Compares configuration, tokenizer and every weight of the file at `path` with the original, runs the
// self-test of a model on it, and compares its logits with the reference's. Says on stderr what was found.
// `output`: the name the file will get. Throws std::runtime_error naming it for the first difference,
// MemoryError where the model does not fit into memory to be run, Interrupted.
void verify_file(const std::string& path, const std::string& output, const Original& original,
                 const VerifyOptions& options);

}  // namespace ttt::cli
