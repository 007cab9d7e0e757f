// SPDX-License-Identifier: Apache-2.0
// UTF-8, one character at a time, by the same rules as SentencePiece. Not a converter: text stays UTF-8.
#pragma once

#include <cstddef>
#include <string_view>

namespace ttt::tokenizer {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD
inline constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";           // U+2581, a space inside a piece

constexpr bool is_trail_byte(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U; }

// Bytes of a character that begins with `lead`: 1 to 4; 0 for a byte that begins none.
std::size_t character_length(char lead);

// Bytes of the character at the front of `text`: 1 to 4; 0 if the text is empty or begins with no valid
// character (truncated, overlong, a surrogate, above U+10FFFF).
std::size_t valid_character_length(std::string_view text);

bool is_valid_utf8(std::string_view text);

}  // namespace ttt::tokenizer
