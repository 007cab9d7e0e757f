// SPDX-License-Identifier: Apache-2.0
// Tokens in, text out, piece by piece: never half a character, never a lost or doubled space, and
// nothing that might still turn out to be the beginning of a stop string.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/text_decoder.h"
#include "tokenizer/tokenizer.h"

namespace ttt::tokenizer {

// For every split of a sequence: certain_text(prompt) + everything pushed and finished = decode(all), as
// long as no stop string was met. A character whose first bytes are the prompt's last ids leaves with the
// stream; bytes that never become a character leave as U+FFFD.
class TextStream {
 public:
  // `prompt`: all ids before the first pushed one. The tokenizer must outlive the stream. Empty stop
  // strings are ignored. Stop strings are looked for in the stream's text alone, not in the prompt's; each
  // costs time for every byte of text, whatever its own length.
  TextStream(const Tokenizer& tokenizer, std::span<const TokenId> prompt,
             std::vector<std::string> stop_strings = {});

  // Text that is certain after this token; may be empty. After a stop string was met, always empty.
  // Throws TokenizerError for an id out of range.
  std::string push(TokenId id);
  // What was held back, at the end of generation.
  std::string finish();
  // Index of the stop string that was met: the one whose end comes first in the text, whatever the
  // division into tokens; of several that end at the same place the longest; of equal ones the first.
  // The text given out ends where it begins.
  std::optional<std::size_t> stopped_by() const { return stopped_by_; }

 private:
  // A stop string and how much of it the text ends with (the automaton of Knuth, Morris and Pratt).
  struct StopString {
    std::string text;
    std::vector<std::size_t> fallback;  // [i]: longest proper prefix of text[0..i] that it also ends with
    std::size_t matched = 0;

    explicit StopString(std::string stop);
    void advance(char c);
  };

  std::string take_certain(std::string_view text);
  // Text not yet given out: the longest end of the text so far that begins a stop string.
  std::string_view held() const;

  TextDecoder decoder_;
  std::vector<StopString> stop_strings_;
  std::optional<std::size_t> stopped_by_;
};

// decode(ids) without an unfinished character at its end: what may be shown of a prompt before its stream.
// Ids beyond the tokenizer's pieces, which a model with a padded vocabulary has, have no text. Throws
// TokenizerError for a negative id.
std::string certain_text(const Tokenizer& tokenizer, std::span<const TokenId> ids);

}  // namespace ttt::tokenizer
