// SPDX-License-Identifier: Apache-2.0
// Token ids -> text, one id at a time, exactly as SentencePiece decodes the whole sequence: the first
// space, byte pieces, unknown pieces. Knows nothing of stop strings (see text_stream.h).
#pragma once

#include <string>

#include "tokenizer/tokenizer.h"

namespace ttt::tokenizer {

struct SentencePieceModel;

class TextDecoder {
 public:
  // At the beginning of a sequence. The tokenizer must outlive the decoder.
  explicit TextDecoder(const Tokenizer& tokenizer);

  // Appends the text that is certain after `id`: all but the bytes of a character that byte pieces have
  // begun and may still complete. Throws TokenizerError for an id out of range.
  void push(TokenId id, std::string& out);
  // Appends one U+FFFD per byte of an unfinished character.
  void finish(std::string& out);

 private:
  void take_characters(std::string& out);

  const Tokenizer* tokenizer_;
  bool at_text_begin_ = true;  // so far no text, so a piece's leading space may be the model's own prefix
  std::string unfinished_;     // at most 3 bytes between two calls
};

}  // namespace ttt::tokenizer
