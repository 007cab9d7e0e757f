// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/text_decoder.h"

#include <string_view>

#include "tokenizer/model_proto.h"
#include "tokenizer/utf8.h"

namespace ttt::tokenizer {

TextDecoder::TextDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

void TextDecoder::push(TokenId id, std::string& out) {
  const Piece& piece = tokenizer_->piece(id);
  const SentencePieceModel& model = tokenizer_->model();
  if (piece.kind == PieceKind::kByte) {
    unfinished_ += *byte_of(piece.text);
    take_characters(out);
    return;
  }
  // Any other piece, even one without text, ends a run of byte pieces.
  finish(out);
  const std::size_t size_before = out.size();
  if (piece.kind == PieceKind::kControl) return;
  if (piece.kind == PieceKind::kUnknown) {
    out += model.unknown_surface;
  } else {
    std::string_view text = piece.text;
    if (at_text_begin_ && (model.add_dummy_prefix || model.remove_extra_whitespaces) &&
        text.starts_with(kSpaceSymbol)) {
      text.remove_prefix(kSpaceSymbol.size());
      // The prefix is one space; extra whitespace at the beginning goes entirely, a space per piece.
      if (!model.remove_extra_whitespaces) at_text_begin_ = false;
    }
    while (!text.empty()) {
      const bool space = text.starts_with(kSpaceSymbol);
      out += space ? ' ' : text[0];
      text.remove_prefix(space ? kSpaceSymbol.size() : 1);
    }
  }
  if (out.size() > size_before) at_text_begin_ = false;
}

void TextDecoder::finish(std::string& out) {
  for (std::size_t i = 0; i < unfinished_.size(); ++i) out += kReplacementCharacter;
  if (!unfinished_.empty()) at_text_begin_ = false;
  unfinished_.clear();
}

// Moves whole characters out of `unfinished_`, and U+FFFD for each byte that cannot begin one.
void TextDecoder::take_characters(std::string& out) {
  while (!unfinished_.empty()) {
    std::size_t length = valid_character_length(unfinished_);
    if (length > 0) {
      out.append(unfinished_, 0, length);
    } else {
      // Bytes that could still become a character: a lead byte and fewer trail bytes than it announces.
      const std::size_t announced = character_length(unfinished_[0]);
      std::size_t trail = 1;
      while (trail < unfinished_.size() && is_trail_byte(unfinished_[trail])) ++trail;
      if (trail == unfinished_.size() && trail < announced) return;
      out += kReplacementCharacter;
      length = 1;
    }
    unfinished_.erase(0, length);
    at_text_begin_ = false;
  }
}

}  // namespace ttt::tokenizer
