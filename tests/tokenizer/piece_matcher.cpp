// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/piece_matcher.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>
#include <set>
#include <string>

namespace ttt::tokenizer {
namespace {

TEST_CASE("the longest piece at the front of the text is found") {
  const PieceMatcher matcher({"<s>", "<sep>", "a", "abc", "\xC3\xA9"});
  CHECK(matcher.longest_prefix("") == 0);
  CHECK(matcher.longest_prefix("x<s>") == 0);
  CHECK(matcher.longest_prefix("<s") == 0);
  CHECK(matcher.longest_prefix("<s>") == 3);
  CHECK(matcher.longest_prefix("<sep>x") == 5);
  CHECK(matcher.longest_prefix("ab") == 1);
  CHECK(matcher.longest_prefix("abcd") == 3);
  CHECK(matcher.longest_prefix("\xC3\xA9z") == 2);
}

TEST_CASE("no pieces match nothing") { CHECK(PieceMatcher({}).longest_prefix("a") == 0); }

TEST_CASE("random pieces are found as by trying each") {
  std::mt19937 random(1);
  const auto word = [&](std::size_t longest) {
    std::string text(std::uniform_int_distribution<std::size_t>(1, longest)(random), 'a');
    for (char& c : text) c = "ab\x80\xFF"[random() % 4];
    return text;
  };
  for (int round = 0; round < 50; ++round) {
    std::set<std::string> pieces;
    while (pieces.size() < 20) pieces.insert(word(5));
    const PieceMatcher matcher({pieces.begin(), pieces.end()});
    for (int i = 0; i < 50; ++i) {
      const std::string text = word(8);
      std::size_t wanted = 0;
      for (const std::string& piece : pieces) {
        if (text.starts_with(piece)) wanted = std::max(wanted, piece.size());
      }
      CHECK(matcher.longest_prefix(text) == wanted);
    }
  }
}

}  // namespace
}  // namespace ttt::tokenizer
