// SPDX-License-Identifier: Apache-2.0
// The tokenizer inside a checkpoint: the raw SentencePiece model, and GGUF's lists for other readers,
// which must agree with it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/tokenizer.h"
#include "weights/checkpoint.h"

namespace ttt {

inline constexpr std::string_view kTokenizerTensor = "tokenizer.sentencepiece";  // [bytes], I8

// Empty if the checkpoint has none. Throws weights::CheckpointError where the lists disagree with the model
// or the vocabulary is larger than the embedding, tokenizer::TokenizerError where the model is invalid.
std::optional<tokenizer::Tokenizer> load_tokenizer(const weights::Checkpoint& checkpoint,
                                                   std::size_t vocab_size);

// Of a tokenizer.model for a model of this vocabulary; `file` stands in messages. Throws like load_tokenizer.
tokenizer::Tokenizer make_tokenizer(std::string_view model, const std::string& file, std::size_t vocab_size);

// Whether a text prompt begins with bos, if there is one: what the file says, else yes.
bool adds_bos(const weights::Checkpoint& checkpoint);

// Appends the tokenizer.ggml.* keys.
void append_tokenizer(const tokenizer::Tokenizer& tokenizer, weights::GgufMetadata& metadata);

}  // namespace ttt
