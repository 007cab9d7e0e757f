// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/charsmap.h"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <random>

#include "tests/tokenizer/small_model.h"

namespace ttt::tokenizer {
namespace {

constexpr std::uint32_t kLeaf = 1U << 31;
constexpr std::uint32_t kHasLeaf = 1U << 8;

// Two blocks: 'A' becomes "xy". Root's children from 256, the leaf of 'A' in unit 257.
struct SmallTrie {
  std::vector<std::uint32_t> units = std::vector<std::uint32_t>(512);
  std::string replacements = std::string("\0xy\0", 4);

  SmallTrie() {
    for (std::uint32_t i = 0; i < 512; ++i) units[i] = i & 0xFF ? 0 : 0xFF;
    units[0] = 256U << 10;
    units[256 + 'A'] = ((256 + 'A') ^ 257U) << 10 | kHasLeaf | 'A';
    units[257] = kLeaf | 1;
  }
  std::string blob() const { return charsmap_of(units, replacements); }
};

std::string charsmap_refusal(const std::string& blob) {
  return refusal_of([&] { CharsMap(blob, "m.model"); });
}

TEST_CASE("no rules apply where there are none") {
  CHECK_FALSE(CharsMap().longest_rule("a"));
  CHECK_FALSE(CharsMap("", "m.model").longest_rule("a"));
}

TEST_CASE("a rule gives its length and its replacement") {
  const CharsMap charsmap(SmallTrie().blob(), "m.model");
  const auto rule = charsmap.longest_rule("AB");
  REQUIRE(rule);
  CHECK(rule->length == 1);
  CHECK(rule->replacement == "xy");
  CHECK_FALSE(charsmap.longest_rule("BA"));
  CHECK_FALSE(charsmap.longest_rule(""));
  CHECK_FALSE(charsmap.longest_rule(std::string_view("\0", 1)));
}

TEST_CASE("the longest of forty nested rules is found, more than SentencePiece's buffer of 32 holds") {
  const CharsMap charsmap(repeated_letter_charsmap(40), "m.model");
  for (std::size_t length = 1; length <= 45; ++length) {
    const auto rule = charsmap.longest_rule(std::string(length, 'a'));
    REQUIRE(rule);
    CHECK(rule->length == std::min<std::size_t>(length, 40));
    CHECK(rule->replacement == fmt::format("<{}>", rule->length));
  }
}

TEST_CASE("a charsmap of another size than its trie's and replacements' is refused") {
  const std::string good = SmallTrie().blob();
  CHECK_THAT(charsmap_refusal(good.substr(0, 3)), Catch::Contains("at least 4 bytes"));
  for (const std::uint32_t size : {0U, 1U, 1023U, 1025U, 2052U, 4096U, 0xFFFFFC00U, 0xFFFFFFFFU}) {
    std::string blob = good;
    for (std::size_t i = 0; i < 4; ++i) blob[i] = static_cast<char>(size >> (8 * i));
    CAPTURE(size);
    CHECK_THAT(charsmap_refusal(blob), Catch::Contains("a multiple of 1024 bytes"));
  }
  // Nothing behind the trie.
  CHECK_THAT(charsmap_refusal(good.substr(0, 4 + 2048)), Catch::Contains("a multiple of 1024 bytes"));
}

TEST_CASE("replacements that do not end or are no UTF-8 are refused") {
  SmallTrie trie;
  trie.replacements.pop_back();
  CHECK_THAT(charsmap_refusal(trie.blob()), Catch::Contains("end in NUL"));
  trie.replacements = std::string("\0x\xFF\0", 4);
  CHECK_THAT(charsmap_refusal(trie.blob()), Catch::Contains("UTF-8"));
}

TEST_CASE("a trie that leads out of itself is refused") {
  SmallTrie trie;
  trie.units[256 + 'A'] = 512U << 10 | 'A';
  CHECK_THAT(charsmap_refusal(trie.blob()), Catch::Contains("children below unit 512"));
  trie.units[256 + 'A'] = 0x1FFFFFU << 10 | 1U << 9 | 'A';
  CHECK_THAT(charsmap_refusal(trie.blob()), Catch::Contains("children below unit 512"));
  // The root is followed even if it calls itself a leaf.
  trie = {};
  trie.units[0] = kLeaf | 512U << 10;
  CHECK_THAT(charsmap_refusal(trie.blob()), Catch::Contains("unit 0"));
}

TEST_CASE("a leaf that points outside the replacements or into a character is refused") {
  SmallTrie trie;
  trie.units[257] = kLeaf | 4;
  CHECK_THAT(charsmap_refusal(trie.blob()), Catch::Contains("leaves that point"));
  trie.units[257] = 1;  // announced as a leaf, but none
  CHECK_THAT(charsmap_refusal(trie.blob()), Catch::Contains("leaves that point"));
  trie.replacements = std::string("\0\xC3\xA9\0", 4);
  trie.units[257] = kLeaf | 2;
  CHECK_THAT(charsmap_refusal(trie.blob()), Catch::Contains("leaves that point"));
  trie.units[257] = kLeaf | 1;
  CHECK(CharsMap(trie.blob(), "m.model").longest_rule("A")->replacement == "\xC3\xA9");
}

// Under the address sanitizer this is the check that the check suffices: nothing that passes reads outside.
TEST_CASE("a mutated trie is refused or walked inside its bounds") {
  std::mt19937 random(2);
  const std::string genuine = repeated_letter_charsmap(6);
  const auto mutated = [&] {
    std::string blob = genuine;
    for (std::size_t count = 1 + random() % 3; count > 0; --count) {
      char& byte = blob[4 + random() % (blob.size() - 4)];
      byte = static_cast<char>(byte ^ (1 << random() % 8));
    }
    return blob;
  };
  std::size_t accepted = 0, refused = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::string blob = mutated();
    try {
      const CharsMap charsmap(blob, "m.model");
      ++accepted;
      for (int i = 0; i < 20; ++i) {
        std::string text(1 + random() % 12, 'a');
        for (char& c : text) c = random() % 4 ? 'a' : static_cast<char>(random());
        const auto rule = charsmap.longest_rule(text);
        if (rule)
          REQUIRE(
              (rule->length > 0 && rule->length <= text.size() && rule->replacement.size() < blob.size()));
      }
    } catch (const TokenizerError&) {
      ++refused;
    }
  }
  CHECK(accepted > 0);
  CHECK(refused > 0);
}

}  // namespace
}  // namespace ttt::tokenizer
