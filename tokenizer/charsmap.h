// SPDX-License-Identifier: Apache-2.0
// The normalisation rules of a SentencePiece model (its precompiled_charsmap), checked once and then
// walked by us: SentencePiece's own walk trusts them, and reads and writes out of bounds where it must not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ttt::tokenizer {

// Layout: uint32 little endian, bytes of the trie; the trie, a darts-clone double array of 32-bit units;
// then the replacements, strings that end in NUL. A leaf of the trie holds an offset into the replacements.
class CharsMap {
 public:
  CharsMap() = default;  // no rules
  // Empty `blob`: no rules. Throws TokenizerError, naming `model`, unless: the trie's size is a multiple
  // of 1024 bytes, above 0, and leaves at least one byte for the replacements; these end in NUL and are
  // UTF-8; every step that a lookup could take stays inside the trie; every rule's replacement begins
  // inside the replacements and at a character.
  CharsMap(std::string_view blob, std::string_view model);

  struct Rule {
    std::size_t length = 0;        // bytes of text that it replaces, > 0
    std::string_view replacement;  // UTF-8, may be empty; lives as long as the CharsMap
  };
  // The rule for the longest prefix of `text`.
  std::optional<Rule> longest_rule(std::string_view text) const;

 private:
  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace ttt::tokenizer
