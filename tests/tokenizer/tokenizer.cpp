// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <map>
#include <thread>

#include "tests/tokenizer/small_model.h"
#include "tokenizer/protobuf_wire.h"

namespace ttt::tokenizer {
namespace {

using Ids = std::vector<TokenId>;

std::map<std::string, Tokenizer, std::less<>> load_all() {
  std::map<std::string, Tokenizer, std::less<>> tokenizers;
  for (const std::string_view name : kModelNames) tokenizers.emplace(name, load_model(name));
  return tokenizers;
}

TEST_CASE("texts and ids are as the Python package gives them") {
  const auto tokenizers = load_all();
  std::size_t encoded = 0, decoded = 0;
  for (const GoldenLine& line : read_golden_lines()) {
    const Tokenizer& tokenizer = tokenizers.at(line.model);
    CAPTURE(line.model, line.text, line.ids);
    if (line.decode) {
      CHECK(tokenizer.decode(line.ids) == line.text);
      ++decoded;
    } else {
      CHECK(tokenizer.encode(line.text) == line.ids);
      ++encoded;
    }
  }
  CHECK(encoded > 200);
  CHECK(decoded > 100);
}

TEST_CASE("texts are encoded as by the library with the model's own bytes") {
  const auto lines = read_golden_lines();
  for (const std::string_view name : kModelNames) {
    const Tokenizer tokenizer = load_model(name);
    const Reference reference(read_model(name));
    for (const GoldenLine& line : lines) {
      CAPTURE(name, line.text);
      REQUIRE(tokenizer.encode(line.text) == reference.encode(line.text));
    }
  }
}

TEST_CASE("the names of control pieces in a text are ordinary text") {
  const Tokenizer tokenizer = load_model("bpe_bytes");
  for (const char* text : {"</s>", "<s>", "a<s>b</s>", "<ctl>", "<longer-control>", "<unk>", "<0x41>"}) {
    const Ids ids = tokenizer.encode(text);
    CAPTURE(text, ids);
    CHECK(tokenizer.decode(ids) == text);
    for (const TokenId id : ids) {
      CHECK(tokenizer.piece(id).kind != PieceKind::kControl);
      CHECK(tokenizer.piece(id).kind != PieceKind::kUnknown);
    }
  }
}

// Without the model's space prefix a text has the ids that it has behind one more space, less that space.
Ids without_prefix(const Tokenizer& tokenizer, std::string_view text) {
  const TokenId sep = *tokenizer.find_piece("<sep>");
  Ids ids = tokenizer.encode("<sep>" + std::string(text));
  return Ids(std::find(ids.begin(), ids.end(), sep) + 1, ids.end());
}

TEST_CASE("parsing finds control pieces anywhere, leftmost and longest") {
  const Tokenizer tokenizer = load_model("bpe_bytes");
  const auto parse = [&](std::string_view text) { return tokenizer.encode(text, SpecialTokens::kParse); };
  const TokenId bos = *tokenizer.bos_id();
  const TokenId eos = *tokenizer.eos_id();
  const TokenId ctl = *tokenizer.find_piece("<ctl>");
  const TokenId ctl_x = *tokenizer.find_piece("<ctl>x");

  CHECK(parse("").empty());
  CHECK(parse("the man") == tokenizer.encode("the man"));
  CHECK(parse("<s></s>") == Ids{bos, eos});
  CHECK(parse("<ctl><ctl>x<ctl>y").front() == ctl);
  CHECK(parse("<ctl><ctl>xx")[1] == ctl_x);
  CHECK(parse("<<s>>")[parse("<").size()] == bos);
  CHECK(parse("<s") == tokenizer.encode("<s"));
  CHECK(parse("\xFF</s>").back() == eos);

  Ids wanted = tokenizer.encode("the");
  wanted.push_back(eos);
  for (const TokenId id : without_prefix(tokenizer, " man")) wanted.push_back(id);
  CHECK(parse("the</s> man") == wanted);
}

TEST_CASE("the space prefix goes to the begin of a parsed text only") {
  const Tokenizer tokenizer = load_model("bpe_bytes");
  Ids wanted = {*tokenizer.bos_id()};
  for (const TokenId id : without_prefix(tokenizer, "the man")) wanted.push_back(id);
  CHECK(tokenizer.encode("<s>the man", SpecialTokens::kParse) == wanted);
  CHECK(tokenizer.piece(wanted[1]).text.find("\xE2\x96\x81") != 0);
}

TEST_CASE("a tokenizer tells its pieces and settings") {
  const Tokenizer demo = load_model("demo");
  CHECK(demo.vocab_size() == 4096);
  CHECK(demo.piece(1).text == "<s>");
  CHECK(demo.piece(1).kind == PieceKind::kControl);
  CHECK(demo.find_piece("<s>") == 1);
  CHECK(demo.find_piece("<0x0A>") == 13);
  CHECK_FALSE(demo.find_piece("no such piece"));
  CHECK((demo.bos_id() == 1 && demo.eos_id() == 2 && demo.unknown_id() == 0));
  CHECK(demo.add_space_prefix());
  CHECK(demo.model_type() == "bpe");
  CHECK(demo.model_bytes() == read_model("demo"));
  const Tokenizer rules = load_model("bpe_rules");
  CHECK_FALSE(rules.add_space_prefix());
  CHECK(load_model("unigram_nfkc").model_type() == "unigram");
}

TEST_CASE("a piece outside the vocabulary is refused") {
  const Tokenizer demo = load_model("demo");
  for (const TokenId id :
       {-1, 4096, std::numeric_limits<TokenId>::max(), std::numeric_limits<TokenId>::min()}) {
    CHECK_THAT(refusal_of([&] { demo.piece(id); }), Catch::Contains("the vocabulary has 4096 pieces"));
  }
}

TEST_CASE("a model that SentencePiece refuses is a TokenizerError with the file's name") {
  SmallModel small;
  small.pieces.resize(3);  // a unigram model without normal pieces
  small.trainer_spec.clear();
  CHECK_THAT(refusal_of([&] { Tokenizer::from_model(small.bytes(), "x.model"); }),
             Catch::Contains("x.model: SentencePiece says") && Catch::Contains("no pieces are loaded"));
}

// SentencePiece would run every sample through the model at load; ours never sees them.
TEST_CASE("a model's own test data is not run") {
  SmallModel small;
  std::string sample, samples;
  write_bytes_field(sample, 1, "ab");
  write_bytes_field(sample, 2, "wrong");
  write_bytes_field(samples, 1, sample);
  write_bytes_field(small.tail, 4, samples);
  CHECK(Tokenizer::from_model(small.bytes(), "m.model").encode("ab") == Ids{5});
}

TEST_CASE("a text beyond the limit is refused") {
  const std::string text(Tokenizer::kMaxTextBytes + 1, ' ');
  CHECK_THAT(refusal_of([&] { load_model("demo").encode(text); }), Catch::Contains("at most 67108864"));
}

TEST_CASE("a moved tokenizer works, and several threads may use one") {
  Tokenizer first = load_model("demo");
  const Ids wanted = first.encode("It was late in the evening");
  const Tokenizer tokenizer = std::move(first);
  std::vector<Ids> found(4);
  {
    std::vector<std::jthread> threads;
    threads.reserve(found.size());
    for (Ids& ids : found) {
      threads.emplace_back([&] {
        for (int i = 0; i < 50; ++i) ids = tokenizer.encode("It was late in the evening");
      });
    }
  }
  CHECK(found == std::vector<Ids>(4, wanted));
}

}  // namespace
}  // namespace ttt::tokenizer
