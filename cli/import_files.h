// SPDX-License-Identifier: Apache-2.0
// A checkpoint in a training format with what belongs to it, ready to be described or converted. Nothing
// computes with it.
#pragma once

#include <optional>
#include <string>

#include "engine/import.h"
#include "engine/model.h"
#include "engine/text_settings.h"
#include "tokenizer/tokenizer.h"
#include "weights/import_source.h"

namespace ttt::cli {

// Neither copied nor moved: the model borrows from the source.
struct ImportFiles {
  // The options' config_json and config_path come from the source. `tokenizer_file` wins over the source's
  // own; empty: none. Throws as import_model and read_tokenizer do.
  ImportFiles(weights::ImportSource from, ImportOptions options, const std::string& tokenizer_file);
  ImportFiles(const ImportFiles&) = delete;
  ImportFiles& operator=(const ImportFiles&) = delete;

  weights::ImportSource source;
  Model model;
  std::optional<tokenizer::Tokenizer> tokenizer;
  TextSettings text;
};

// The one in `file`; where that is empty, the source's own, if it has one. Throws as read_tokenizer.
std::optional<tokenizer::Tokenizer> tokenizer_of(const weights::ImportSource& source, const std::string& file,
                                                 std::size_t vocab_size);

// Adds to the model's warnings what a user should know about these two together.
void add_warnings(const std::optional<tokenizer::Tokenizer>& tokenizer, Model& model);

// Of a tokenizer.model, a tokenizer.json or any GGUF file, for a model of this vocabulary. Throws
// CheckpointError, TokenizerError.
tokenizer::Tokenizer read_tokenizer(const std::string& path, std::size_t vocab_size);

}  // namespace ttt::cli
