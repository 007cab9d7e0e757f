// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/normalizer.h"

#include <fmt/format.h>

#include "tokenizer/utf8.h"

namespace ttt::tokenizer {

Normalizer::Normalizer(const SentencePieceModel& model)
    : model_(model),
      user_defined_(texts_of(model, PieceKind::kUserDefined)),
      space_(model.escape_whitespaces ? kSpaceSymbol : " ") {}

std::string Normalizer::normalize(std::string_view text, bool at_text_begin) const {
  const bool trim = model_.remove_extra_whitespaces;
  while (trim && !text.empty()) {
    const auto [length, replacement] = next_unit(text);
    if (replacement != " ") break;
    text.remove_prefix(length);
  }
  std::string out;
  if (text.empty()) return out;
  out.reserve(text.size() + text.size() / 2);
  if (at_text_begin && model_.add_dummy_prefix) out += space_;

  bool after_space = trim;
  while (!text.empty()) {
    auto [length, replacement] = next_unit(text);
    text.remove_prefix(length);
    while (after_space && replacement.starts_with(' ')) replacement.remove_prefix(1);
    if (replacement.empty()) continue;
    append(replacement, out);
    after_space = trim && replacement.ends_with(' ');
    if (out.size() > kMaxNormalizedBytes) {
      throw TokenizerError(
          fmt::format("the text has over {} bytes after normalisation; split it", kMaxNormalizedBytes));
    }
  }
  while (trim && out.ends_with(space_)) out.resize(out.size() - space_.size());
  return out;
}

// One user-defined piece, one rule, one character or one broken byte at the front of `text`.
CharsMap::Rule Normalizer::next_unit(std::string_view text) const {
  if (const std::size_t length = user_defined_.longest_prefix(text); length > 0) {
    return {length, text.substr(0, length)};
  }
  if (const auto rule = model_.charsmap.longest_rule(text)) return *rule;
  if (const std::size_t length = valid_character_length(text); length > 0) {
    return {length, text.substr(0, length)};
  }
  return {1, kReplacementCharacter};
}

void Normalizer::append(std::string_view replacement, std::string& out) const {
  for (std::size_t space = 0; (space = replacement.find(' ')) != std::string_view::npos;) {
    out += replacement.substr(0, space);
    out += space_;
    replacement.remove_prefix(space + 1);
  }
  out += replacement;
}

}  // namespace ttt::tokenizer
