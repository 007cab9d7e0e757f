// SPDX-License-Identifier: Apache-2.0
#include "weights/utf8.h"

#include <catch2/catch.hpp>
#include <string>

namespace ttt::weights {
namespace {

std::string encode(std::uint32_t c) {
  const auto byte = [](std::uint32_t value) { return static_cast<char>(value); };
  if (c < 0x80) return {byte(c)};
  if (c < 0x800) return {byte(0xc0 | c >> 6), byte(0x80 | (c & 0x3f))};
  if (c < 0x10000) return {byte(0xe0 | c >> 12), byte(0x80 | (c >> 6 & 0x3f)), byte(0x80 | (c & 0x3f))};
  return {byte(0xf0 | c >> 18), byte(0x80 | (c >> 12 & 0x3f)), byte(0x80 | (c >> 6 & 0x3f)),
          byte(0x80 | (c & 0x3f))};
}

TEST_CASE("UTF-8: all code points but the surrogates are read, and nothing beyond them") {
  int wrong = 0;
  for (std::uint32_t c = 0; c <= 0x1fffff; ++c) {
    const std::string text = encode(c);
    const Utf8Sequence sequence = first_utf8_sequence(text);
    const bool valid = c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff);
    const bool read = sequence.length == text.size() && sequence.code_point == c;
    wrong += valid == read && (valid || sequence.length == 0) ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("UTF-8: no byte alone, cut sequence or overlong form is UTF-8") {
  for (int first = 0x80; first <= 0xff; ++first)
    CHECK_FALSE(is_utf8(std::string(1, static_cast<char>(first))));
  for (const char* text :
       {"\xe2\x96", "\xf0\x9f\x98", "a\xc3", "\xc3(", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80",
        "\xf0\x80\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80"}) {
    CHECK_FALSE(is_utf8(text));
  }
  CHECK(is_utf8(""));
  CHECK(is_utf8("gr\xc3\xbc\xc3\x9f \xe2\x96\x81 \xf0\x9f\x98\x80"));
}

}  // namespace
}  // namespace ttt::weights
