// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/text_decoder.h"

#include <catch2/catch.hpp>

#include "tests/tokenizer/small_model.h"
#include "tokenizer/protobuf_wire.h"
#include "tokenizer/utf8.h"

namespace ttt::tokenizer {
namespace {

// The certain text after each id, in brackets, then what finish() adds.
std::string steps(const Tokenizer& tokenizer, std::span<const TokenId> ids) {
  std::string all;
  TextDecoder decoder(tokenizer);
  for (const TokenId id : ids) {
    std::string text;
    decoder.push(id, text);
    all += '[' + text + ']';
  }
  decoder.finish(all);
  return all;
}

// SmallModel with bytes from id 7 on, so that byte b is id 7 + b, and a space prefix.
Tokenizer byte_tokenizer() {
  SmallModel small;
  small.normalizer_spec.clear();
  write_varint_field(small.normalizer_spec, 4, 0);
  small.add_bytes();
  return Tokenizer::from_model(small.bytes(), "m.model");
}

std::vector<TokenId> byte_ids(std::string_view bytes) {
  std::vector<TokenId> ids;
  for (const char byte : bytes) ids.push_back(7 + static_cast<unsigned char>(byte));
  return ids;
}

TEST_CASE("random ids decode as the library decodes them") {
  std::mt19937 random(6);
  for (const std::string_view name : kModelNames) {
    const Tokenizer tokenizer = load_model(name);
    const Reference reference(read_model(name));
    for (int round = 0; round < 1500; ++round) {
      const auto ids = random_ids(tokenizer, random);
      CAPTURE(name, ids);
      REQUIRE(tokenizer.decode(ids) == reference.decode(ids));
    }
  }
}

TEST_CASE("every mix of settings decodes leading spaces as the library does") {
  for (unsigned settings = 0; settings < 8; ++settings) {
    SmallModel small;
    small.add(
        "\xE2\x96\x81\xE2\x96\x81"
        "a");
    small.normalizer_spec.clear();
    for (const std::uint32_t field : {3U, 4U, 5U}) {
      write_varint_field(small.normalizer_spec, field, settings >> (field - 3) & 1);
    }
    write_bytes_field(small.trainer_spec, 44, settings & 1 ? "" : "?");  // unk_surface
    const Tokenizer tokenizer = Tokenizer::from_model(small.bytes(), "m.model");
    const Reference reference(small.bytes());
    std::mt19937 random(settings);
    for (int round = 0; round < 500; ++round) {
      std::vector<TokenId> ids(random() % 6);
      for (TokenId& id : ids) id = static_cast<TokenId>(random() % 8);
      CAPTURE(settings, ids);
      REQUIRE(tokenizer.decode(ids) == reference.decode(ids));
    }
  }
}

TEST_CASE("a character of several byte pieces appears with its last byte") {
  CHECK(steps(byte_tokenizer(), byte_ids("\xF0\x9F\x98\x80z")) == "[][][][\xF0\x9F\x98\x80][z]");
}

TEST_CASE("broken bytes become U+FFFD as soon as they cannot become a character") {
  const Tokenizer tokenizer = byte_tokenizer();
  const std::string bad(kReplacementCharacter);
  CHECK(steps(tokenizer, byte_ids("\x80\xFF")) == "[" + bad + "][" + bad + "]");
  CHECK(steps(tokenizer, byte_ids("\xE2\x82z")) == "[][][" + bad + bad + "z]");
  CHECK(steps(tokenizer, byte_ids("\xE2\xC3\xA9")) == "[][" + bad + "][\xC3\xA9]");
  CHECK(steps(tokenizer, byte_ids("\xC0\x80")) == "[][" + bad + bad + "]");
  CHECK(steps(tokenizer, byte_ids("\xF0\x9F\x98")) == "[][][]" + bad + bad + bad);
}

TEST_CASE("any other piece ends a character that byte pieces have begun") {
  std::vector<TokenId> ids = byte_ids("\xC3");
  ids.push_back(1);  // bos, without text
  ids.push_back(7 + 0xA9);
  const std::string bad(kReplacementCharacter);
  CHECK(steps(byte_tokenizer(), ids) == "[][" + bad + "][" + bad + "]");
}

TEST_CASE("the first space is dropped after bos as well, and only the first") {
  const Tokenizer tokenizer = byte_tokenizer();
  CHECK(steps(tokenizer, std::vector<TokenId>{1, 6, 6, 3, 6}) == "[][][ ][a][ ]");
  CHECK(steps(tokenizer, std::vector<TokenId>{3, 6}) == "[a][ ]");
}

TEST_CASE("an id outside the vocabulary is refused") {
  const Tokenizer tokenizer = byte_tokenizer();
  CHECK_THAT(refusal_of([&] { steps(tokenizer, std::vector<TokenId>{263}); }),
             Catch::Contains("263 is out of range: the vocabulary has 263 pieces"));
  CHECK_THAT(refusal_of([&] { tokenizer.decode(std::vector<TokenId>{-1}); }),
             Catch::Contains("out of range"));
}

}  // namespace
}  // namespace ttt::tokenizer
