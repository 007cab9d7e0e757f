// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/tokenizer_json.h"

#include <catch2/catch.hpp>
#include <random>
#include <sstream>

#include "tests/tokenizer/small_model.h"
#include "weights/checkpoint_error.h"
#include "weights/strict_json.h"

namespace ttt::tokenizer {
namespace {

std::string translated(const std::string& text) {
  TokenizerJson json("t.json");
  weights::ForwardingListener listener(json);
  weights::parse_strict_json(text, "t.json", listener);
  return json.sentencepiece_model();
}

std::string refusal(const std::string& text) {
  return refusal_of([&] { translated(text); });
}

const std::string& golden_json() {
  static const std::string kText = read_file("llama.json");
  return kText;
}

// The file with its first `from` replaced.
std::string with(std::string_view from, std::string_view to, std::string text = golden_json()) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

TEST_CASE("tokenizer.json: texts have the ids that the Python package gives them, and come back") {
  const Tokenizer tokenizer = Tokenizer::from_model(translated(golden_json()), "t.json");
  std::istringstream file(read_file("llama_json_ids.txt"));
  int lines = 0;
  for (std::string text, ids; file >> text >> ids; ++lines) {
    CAPTURE(text);
    REQUIRE(tokenizer.encode(unescaped(text)) == parsed_ids(ids));
    // A space and U+2581 are the same piece.
    if (unescaped(text).find("\xE2\x96\x81") != std::string::npos) continue;
    REQUIRE(tokenizer.decode(parsed_ids(ids)) == unescaped(text));
  }
  CHECK(lines > 80);
}

TEST_CASE("tokenizer.json: pieces have their kinds, and the rank of their first merge as score") {
  const Tokenizer tokenizer = Tokenizer::from_model(translated(golden_json()), "t.json");
  CHECK(tokenizer.vocab_size() == 420);
  CHECK(tokenizer.model_type() == "bpe");
  CHECK(tokenizer.add_space_prefix());
  CHECK((tokenizer.unknown_id() == 0 && tokenizer.bos_id() == 1 && tokenizer.eos_id() == 2));
  CHECK(tokenizer.piece(0).kind == PieceKind::kUnknown);
  CHECK(tokenizer.piece(1).kind == PieceKind::kControl);
  CHECK(tokenizer.piece(2).kind == PieceKind::kControl);
  CHECK(tokenizer.piece(3).kind == PieceKind::kByte);
  CHECK(tokenizer.piece(258).kind == PieceKind::kByte);
  CHECK(tokenizer.piece(259).kind == PieceKind::kNormal);
  CHECK(tokenizer.piece(259).score == 0.0F);  // the first merge
  CHECK(tokenizer.piece(*tokenizer.find_piece("ab")).score < tokenizer.piece(259).score);
}

// [["a","b"],...] as ["a b",...]
std::string merges_as_texts(std::string_view pairs) {
  std::string out;
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const char c = pairs[i];
    if (c == '"') in_string = !in_string;
    if (!in_string && c == '[') ++depth;
    if (!in_string && c == ']') --depth;
    const bool outer = in_string || c == '"' ? false : depth < (c == ']' ? 1 : 2);
    if (depth == 2 && pairs.substr(i, 3) == "\",\"" && !in_string) {  // the first string of a pair ends
      out += ' ';
      in_string = true;
      i += 2;
    } else if (in_string || c == '"' || outer) {
      out += c;
    }
    if (c == '\\' && in_string) out += pairs[++i];
  }
  return out;
}

TEST_CASE("tokenizer.json: merges may be written as pairs and as texts") {
  CHECK(merges_as_texts(R"([["a","b"],["[","\"]"]]}})") == R"(["a b","[ \"]"]}})");
  const std::string& text = golden_json();
  const std::size_t begin = text.find("\"merges\":") + 9;
  const std::string other = text.substr(0, begin) + merges_as_texts(text.substr(begin));
  CHECK(other.size() < text.size() - 100);
  CHECK(translated(other) == translated(text));
}

TEST_CASE("tokenizer.json: the ways to write spaces that SentencePiece has") {
  const std::string prepend = "{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"},";
  const std::string strip = R"(,{"type":"Strip","content":" ","start":1,"stop":0})";
  const std::string plain = with(strip, "", with(prepend, ""));
  CHECK_FALSE(Tokenizer::from_model(translated(plain), "t.json").add_space_prefix());
  const std::size_t begin = plain.find("\"normalizer\":");
  const std::string rest = plain.substr(plain.find("\"post_processor\":"));
  const auto metaspace = [&](const std::string& members) {
    return plain.substr(0, begin) +
           "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\"," +
           members + "}," + rest;
  };
  CHECK(translated(metaspace(R"("prepend_scheme":"never","split":false)")) == translated(plain));
  CHECK(translated(metaspace(R"("add_prefix_space":false,"split":false)")) == translated(plain));
  for (const char* scheme : {"first", "always"}) {
    CHECK_THAT(refusal(metaspace(std::string(R"("split":false,"prepend_scheme":")") + scheme + '"')),
               Catch::Contains("not before a text that begins with one"));
  }
  CHECK_THAT(refusal(metaspace(R"("prepend_scheme":"never","split":true)")),
             Catch::Contains("does not split"));
  CHECK_THAT(refusal(metaspace(R"("prepend_scheme":"never")")), Catch::Contains("does not split"));
  CHECK_THAT(refusal(with(prepend, "")), Catch::Contains("no space stripped"));
  CHECK_THAT(refusal(with(strip, "")), Catch::Contains("the prepended space stripped"));
}

TEST_CASE("tokenizer.json: what SentencePiece cannot express is refused with the reason") {
  const auto refused = [](std::string_view from, std::string_view to) { return refusal(with(from, to)); };
  CHECK_THAT(refused("\"type\":\"BPE\"", "\"type\":\"Unigram\""), Catch::Contains("model: wanted BPE"));
  CHECK_THAT(refused("\"dropout\":null", "\"dropout\":0.1"), Catch::Contains("model.dropout: wanted none"));
  CHECK_THAT(refused("\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\""),
             Catch::Contains("model.end_of_word_suffix: wanted none"));
  CHECK_THAT(refused("\"byte_fallback\":true", "\"byte_fallback\":false"), Catch::Contains("byte_fallback"));
  CHECK_THAT(refused("\"ignore_merges\":false", "\"ignore_merges\":true"), Catch::Contains("ignore_merges"));
  CHECK_THAT(refused("\"unk_token\":\"<unk>\"", "\"unk_token\":null"), Catch::Contains("unk_token"));
  CHECK_THAT(refused("\"special\":true", "\"special\":false"),
             Catch::Contains("added token \"<unk>\": wanted a special one"));
  CHECK_THAT(refused("\"rstrip\":false", "\"rstrip\":true"), Catch::Contains("wanted rstrip false"));
  CHECK_THAT(refused("{\"id\":1,", "{\"id\":2,"), Catch::Contains("id 1, as in the vocabulary, found 2"));
  CHECK_THAT(refused("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[",
                     "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},"),
             Catch::Contains("Prepend and Replace, or Replace alone"));
  CHECK_THAT(refused("\"pre_tokenizer\":null", "\"pre_tokenizer\":{\"type\":\"ByteLevel\"}"),
             Catch::Contains("either a normalizer or a pre_tokenizer, found both"));
  CHECK_THAT(refused("{\"String\":\" \"}", "{\"String\":\"x\"}"), Catch::Contains("replaced by"));
  CHECK_THAT(refused("{\"type\":\"ByteFallback\"}", "{\"type\":\"ByteLevel\"}"),
             Catch::Contains("decoder: wanted ByteFallback"));
  CHECK_THAT(refused("\"start\":1", "\"start\":2"), Catch::Contains("one space stripped"));
  CHECK_THAT(refused("\"<0x41>\":68", "\"<0x4>\":68"), Catch::Contains("256 byte pieces"));
  CHECK_THAT(refused("\"<0x41>\":68", "\"<0x41>\":69"), Catch::Contains("each id from 0 to 419 once"));
  CHECK_THAT(refused("\"<0x41>\":68", "\"<0x41>\":-1"), Catch::Contains("ids below"));
  CHECK_THAT(refused("\"<0x41>\":68", "\"<0x41>\":420"), Catch::Contains("each id from 0 to 419 once"));
}

TEST_CASE("tokenizer.json: merges that pieces cannot stand for are refused") {
  const auto refused = [](std::string_view from, std::string_view to) { return refusal(with(from, to)); };
  // SentencePiece would join "▁o" and "n" although no merge says so.
  CHECK_THAT(refused("[\"\xE2\x96\x81o\",\"n\"],", ""),
             Catch::Contains("\"\\xE2\\x96\\x81o\" and \"n\", which SentencePiece would join"));
  CHECK_THAT(refused("[\"a\",\"b\"]", "[\"a\",\"b\"],[\"a\",\"b\"]"), Catch::Contains("each pair once"));
  CHECK_THAT(refused("[\"a\",\"b\"]", "[\"a\",\"nonsense\"]"), Catch::Contains("pieces of the vocabulary"));
  CHECK_THAT(refused("[\"a\",\"b\"]", "[\"a\"]"), Catch::Contains("two pieces"));
  CHECK_THAT(refused("[\"a\",\"b\"]", "[\"a\",\"b\",\"c\"]"), Catch::Contains("two pieces"));
  CHECK_THAT(refused("[\"a\",\"b\"]", "\"a b c\""), Catch::Contains("two pieces"));
  CHECK_THAT(refused("[\"a\",\"b\"]", "7"), Catch::Contains("two pieces"));
  // Another piece's merge between the two into one.
  CHECK_THAT(refused("[\"\xE2\x96\x81w\",\"he\"],[\"\xE2\x96\x81wh\",\"e\"],[\"e\",\"r\"]",
                     "[\"\xE2\x96\x81w\",\"he\"],[\"e\",\"r\"],[\"\xE2\x96\x81wh\",\"e\"]"),
             Catch::Contains("one after another"));
}

TEST_CASE("tokenizer.json: special tokens behind the vocabulary become control pieces") {
  const std::string text =
      with("\"special\":true}]", "\"special\":true},{\"id\":420,\"content\":\"<pad>\",\"special\":true}]");
  const Tokenizer tokenizer = Tokenizer::from_model(translated(text), "t.json");
  CHECK(tokenizer.vocab_size() == 421);
  CHECK(tokenizer.piece(420).kind == PieceKind::kControl);
  CHECK(tokenizer.encode("<pad>") != std::vector<TokenId>{420});
  CHECK(tokenizer.encode("<pad>", SpecialTokens::kParse) == std::vector<TokenId>{420});
  CHECK_THAT(refusal(with("\"special\":true}]",
                          "\"special\":true},{\"id\":421,\"content\":\"<pad>\",\"special\":true}]")),
             Catch::Contains("the next free id, found 421"));
}

TEST_CASE("tokenizer.json: other values in any place are refused, never believed") {
  CHECK_THAT(refusal("[]"), Catch::Contains("an object"));
  CHECK_THAT(refusal("1"), Catch::Contains("an object"));
  CHECK_THAT(refusal("{}"), Catch::Contains("model: wanted an object, found none"));
  CHECK_THAT(refusal_of([] { (void)TokenizerJson("t.json").sentencepiece_model(); }),
             Catch::Contains("nothing"));
  std::string many = "[";
  for (std::size_t i = 0; i < TokenizerJson::kMaxNodes; ++i) many += "0,";
  CHECK_THAT(refusal(many + "0]"), Catch::Contains("at most 2097152 values"));
  // Any one value of the file's head replaced by another kind.
  const std::string& text = golden_json();
  const std::size_t head = text.find("\"<0x00>\"");
  int refused = 0;
  int values = 0;
  for (std::size_t colon = 0; (colon = text.find(':', colon + 1)) < head;) {
    std::size_t end = colon + 1;
    if (text[end] == '"') end = text.find('"', end + 1) + 1;
    if (text[end] == '[' || text[end] == '{') continue;
    end = text.find_first_of(",}]", end);
    for (const char* other : {"null", "-1", "{\"type\":1}", "[[]]", "\"x\"", "1e9"}) {
      const std::string changed = text.substr(0, colon + 1) + other + text.substr(end);
      ++values;
      try {
        Tokenizer::from_model(translated(changed), "t.json");
      } catch (const TokenizerError&) {
        ++refused;
      }
    }
  }
  CHECK(values > 200);
  CHECK(refused > values / 2);
}

}  // namespace
}  // namespace ttt::tokenizer
