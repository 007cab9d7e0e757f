// SPDX-License-Identifier: Apache-2.0
// The bodies of POST /tokenize and POST /detokenize, in vLLM's and llama.cpp's words.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace ttt::server {

struct TokenizeRequest {
  std::string text;                // "prompt" or "content"
  bool add_special_tokens = true;  // or "add_special": bos in front, where the model wants it
  bool with_texts = false;         // "return_token_strs" or "with_pieces"
};

// Throws ApiError.
TokenizeRequest parse_tokenize(std::string_view body);

// The field "tokens". Throws ApiError; ids lie in [0, vocab_size).
std::vector<tokenizer::TokenId> parse_detokenize(std::string_view body, std::size_t vocab_size);

}  // namespace ttt::server
