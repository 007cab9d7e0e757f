// SPDX-License-Identifier: Apache-2.0
// The tokenizer inside a checkpoint: the raw SentencePiece model, and GGUF's lists for other readers,
// which must agree with it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"
#include "weights/checkpoint.h"
#include "weights/gguf.h"

namespace ttt {

inline constexpr std::string_view kTokenizerTensor = "tokenizer.sentencepiece";  // [bytes], I8

// Empty if the checkpoint has none. Throws weights::CheckpointError where the lists disagree with the model
// or the vocabulary is larger than the embedding, tokenizer::TokenizerError where the model is invalid.
std::optional<tokenizer::Tokenizer> load_tokenizer(const weights::Checkpoint& checkpoint,
                                                   std::size_t vocab_size);

// Of the bytes of a tokenizer.model, or of a tokenizer.json (which begins with a brace), for a model of this
// vocabulary; `file` stands in messages. Throws like load_tokenizer.
tokenizer::Tokenizer make_tokenizer(std::string_view bytes, const std::string& file, std::size_t vocab_size);

// Of any GGUF file, whatever model it holds, for a model of this vocabulary: its SentencePiece model, else
// what its lists say where they are of Llama's kind. Throws like load_tokenizer.
tokenizer::Tokenizer take_tokenizer(const weights::GgufFile& file, std::size_t vocab_size);

// What a user should know about a tokenizer that leaves so many ids without a piece that it is probably not
// the model's own: one sentence. Fewer than 128 say nothing: so many may pad a vocabulary to a multiple of
// 128.
std::vector<std::string> tokenizer_warnings(const tokenizer::Tokenizer& tokenizer, std::size_t vocab_size);

// Appends the tokenizer.ggml.* keys.
void append_tokenizer(const tokenizer::Tokenizer& tokenizer, weights::GgufMetadata& metadata);

}  // namespace ttt
