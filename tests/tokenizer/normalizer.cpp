// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/normalizer.h"

#include <catch2/catch.hpp>

#include "tests/tokenizer/small_model.h"
#include "tokenizer/protobuf_wire.h"
#include "tokenizer/utf8.h"

namespace ttt::tokenizer {
namespace {

// `text` with U+2581 for each '_'.
std::string spaced(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '_' ? std::string(kSpaceSymbol) : std::string(1, c);
  return out;
}

struct Settings {
  bool add_dummy_prefix = false;
  bool remove_extra_whitespaces = false;
  bool escape_whitespaces = true;
};

SentencePieceModel model_with(const Settings& settings, const std::string& charsmap = {}) {
  SmallModel small;
  small.add("U R", PieceKind::kUserDefined);
  small.normalizer_spec.clear();
  write_bytes_field(small.normalizer_spec, 2, charsmap);
  write_varint_field(small.normalizer_spec, 3, settings.add_dummy_prefix);
  write_varint_field(small.normalizer_spec, 4, settings.remove_extra_whitespaces);
  write_varint_field(small.normalizer_spec, 5, settings.escape_whitespaces);
  return parse_model(small.bytes(), "m.model");
}

TEST_CASE("spaces become the space symbol, and a prefix goes where the text begins") {
  const auto model = model_with({.add_dummy_prefix = true});
  const Normalizer normalizer(model);
  CHECK(normalizer.normalize("a  b ", true) == spaced("_a__b_"));
  CHECK(normalizer.normalize("a", false) == "a");
  CHECK(normalizer.normalize(" ", true) == spaced("__"));
  CHECK(normalizer.normalize("", true).empty());
  CHECK(normalizer.normalize("\t\n", true) == spaced("_\t\n"));
}

TEST_CASE("spaces stay where they are not escaped") {
  const auto model = model_with({.add_dummy_prefix = true, .escape_whitespaces = false});
  CHECK(Normalizer(model).normalize("a b", true) == " a b");
}

TEST_CASE("extra whitespace is removed at both ends and inside") {
  const auto model = model_with({.add_dummy_prefix = true, .remove_extra_whitespaces = true});
  const Normalizer normalizer(model);
  CHECK(normalizer.normalize("  a   b  ", true) == spaced("_a_b"));
  CHECK(normalizer.normalize("   ", true).empty());
  // Typed space symbols at the end go too, even with the prefix.
  CHECK(normalizer.normalize(spaced("__"), true).empty());
}

TEST_CASE("each byte that is in no character becomes U+FFFD") {
  const auto model = model_with({});
  const Normalizer normalizer(model);
  CHECK(normalizer.normalize("a\xFF\xE2\x82z\xC3", false) ==
        "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz\xEF\xBF\xBD");
  CHECK(normalizer.normalize(std::string_view("\0", 1), false) == std::string(1, '\0'));
}

TEST_CASE("the longest rule applies, but not inside a user-defined piece") {
  const auto model = model_with({}, repeated_letter_charsmap(3));
  const Normalizer normalizer(model);
  CHECK(normalizer.normalize("aaaab", false) == "<3><1>b");
  CHECK(normalizer.normalize("U Ra", false) == spaced("U_R<1>"));
}

TEST_CASE("rules that blow a text up beyond the limit are stopped") {
  std::string charsmap = repeated_letter_charsmap(1);
  charsmap.resize(charsmap.size() - 4);  // "<1>" and NUL, the only replacement
  charsmap += std::string(1U << 20, 'x');
  charsmap += '\0';
  const auto model = model_with({}, charsmap);
  const Normalizer normalizer(model);
  const std::string text(Normalizer::kMaxNormalizedBytes >> 20, 'a');
  CHECK(normalizer.normalize(text, false).size() == Normalizer::kMaxNormalizedBytes);
  CHECK_THAT(refusal_of([&] { normalizer.normalize(text + "a", false); }),
             Catch::Contains("268435456 bytes"));
}

}  // namespace
}  // namespace ttt::tokenizer
