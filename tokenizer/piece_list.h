// SPDX-License-Identifier: Apache-2.0
// Pieces as GGUF files of Llama's kind list them, made into the SentencePiece BPE model that they came from.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace ttt::tokenizer {

struct PieceList {
  std::vector<Piece> pieces;
  std::optional<TokenId> bos_id, eos_id;  // left out of the model where they are no control pieces
  bool add_space_prefix = true;
};

// A model that Tokenizer::from_model accepts. Throws TokenizerError naming `name` for pieces that it would
// refuse, as model_proto.h has it.
std::string sentencepiece_model(const PieceList& list, std::string_view name);

}  // namespace ttt::tokenizer
