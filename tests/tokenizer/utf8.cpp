// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/utf8.h"

#include <catch2/catch.hpp>
#include <string>

namespace ttt::tokenizer {
namespace {

TEST_CASE("every code point but a surrogate is one character of its shortest length") {
  std::size_t wrong = 0;
  for (std::uint32_t point = 0; point <= 0x110000; ++point) {
    std::string text;
    const auto trail = [&](unsigned shift) { text += static_cast<char>(0x80 | (point >> shift & 0x3F)); };
    if (point < 0x80) {
      text += static_cast<char>(point);
    } else if (point < 0x800) {
      text += static_cast<char>(0xC0 | point >> 6);
      trail(0);
    } else if (point < 0x10000) {
      text += static_cast<char>(0xE0 | point >> 12);
      trail(6);
      trail(0);
    } else {
      text += static_cast<char>(0xF0 | point >> 18);
      trail(12);
      trail(6);
      trail(0);
    }
    const bool surrogate = point >= 0xD800 && point < 0xE000;
    const std::size_t wanted = surrogate || point == 0x110000 ? 0 : text.size();
    if (valid_character_length(text) != wanted) ++wrong;
    if (valid_character_length(text + "\x80") != wanted) ++wrong;
    if (text.size() > 1 && valid_character_length(text.substr(0, text.size() - 1)) != 0) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("overlong and out of range forms are no characters") {
  for (const char* text : {"", "\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF",
                           "\xED\xA0\x80", "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80",
                           "\xF8\x88\x80\x80\x80", "\xFF", "\xC3\x28", "\xE2\x28\xA1", "\xF0\x9F\x98\x28"}) {
    CHECK(valid_character_length(text) == 0);
  }
}

TEST_CASE("a text is UTF-8 if all of it is") {
  CHECK(is_valid_utf8(""));
  CHECK(is_valid_utf8("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"));
  CHECK(is_valid_utf8(kReplacementCharacter));
  CHECK_FALSE(is_valid_utf8("a\xC3"));
  CHECK_FALSE(is_valid_utf8("a\x80z"));
}

}  // namespace
}  // namespace ttt::tokenizer
