// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/piece_list.h"

#include <catch2/catch.hpp>

#include "tests/tokenizer/small_model.h"

namespace ttt::tokenizer {
namespace {

PieceList pieces_of(const Tokenizer& tokenizer) {
  PieceList list{.pieces = {}, .bos_id = tokenizer.bos_id(), .eos_id = tokenizer.eos_id()};
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) list.pieces.push_back(tokenizer.piece(id));
  return list;
}

TEST_CASE("piece list: a model's pieces make a model that segments like it") {
  const Tokenizer original = Tokenizer::from_model(read_file("demo.model"), "demo.model");
  const Tokenizer made = Tokenizer::from_model(sentencepiece_model(pieces_of(original), "list"), "list");
  CHECK(made.model_type() == "bpe");
  CHECK((made.bos_id() == original.bos_id() && made.eos_id() == original.eos_id()));
  for (const char* text : {"Once upon a time", " two  spaces", "1234 caf\u00e9 \u6771\u4eac", ""}) {
    CHECK(made.encode(text) == original.encode(text));
    CHECK(made.decode(made.encode(text)) == text);
  }
  PieceList no_prefix = pieces_of(original);
  no_prefix.add_space_prefix = false;
  const Tokenizer bare = Tokenizer::from_model(sentencepiece_model(no_prefix, "list"), "list");
  CHECK(bare.encode("a") != original.encode("a"));
}

TEST_CASE("piece list: special ids that are no control pieces are left out, bad pieces are refused") {
  const Tokenizer original = Tokenizer::from_model(read_file("demo.model"), "demo.model");
  PieceList list = pieces_of(original);
  list.bos_id = 300;  // an ordinary piece
  list.eos_id = 1'000'000;
  const Tokenizer made = Tokenizer::from_model(sentencepiece_model(list, "list"), "list");
  CHECK_FALSE(made.bos_id().has_value());
  CHECK_FALSE(made.eos_id().has_value());
  list.pieces[300].text = list.pieces[301].text;
  CHECK_THROWS_AS(sentencepiece_model(list, "list"), TokenizerError);
  CHECK_THROWS_AS(sentencepiece_model(PieceList(), "list"), TokenizerError);
}

}  // namespace
}  // namespace ttt::tokenizer
