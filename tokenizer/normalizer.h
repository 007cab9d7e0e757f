// SPDX-License-Identifier: Apache-2.0
// Text as typed -> text as pieces are spelled: the model's rules, spaces, U+FFFD for broken UTF-8. Does
// what SentencePiece's normaliser does with the same settings, without its trie walk (see charsmap.h).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "tokenizer/charsmap.h"
#include "tokenizer/model_proto.h"
#include "tokenizer/piece_matcher.h"

namespace ttt::tokenizer {

class Normalizer {
 public:
  // `model` must outlive the normalizer.
  explicit Normalizer(const SentencePieceModel& model);

  // Valid UTF-8. `at_text_begin`: the text begins here, so it gets the model's space prefix (never where
  // nothing is left of it). Throws TokenizerError if the rules blow the text up beyond kMaxNormalizedBytes.
  std::string normalize(std::string_view text, bool at_text_begin) const;

  // 64 MiB of spaces are 192 MiB as U+2581.
  static constexpr std::size_t kMaxNormalizedBytes = std::size_t{1} << 28;

 private:
  CharsMap::Rule next_unit(std::string_view text) const;
  void append(std::string_view replacement, std::string& out) const;

  const SentencePieceModel& model_;
  PieceMatcher user_defined_;
  std::string_view space_;
};

}  // namespace ttt::tokenizer
