// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/model_proto.h"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <functional>
#include <limits>
#include <random>

#include "tests/tokenizer/small_model.h"
#include "tokenizer/protobuf_wire.h"

namespace ttt::tokenizer {
namespace {

using Spoil = std::function<void(SmallModel&)>;

std::string model_proto_refusal(const std::string& bytes) {
  return refusal_of([&] { parse_model(bytes, "m.model"); });
}

std::string model_proto_refusal(const Spoil& spoil) {
  SmallModel model;
  spoil(model);
  return model_proto_refusal(model.bytes());
}

Spoil piece(const std::string& text, PieceKind kind = PieceKind::kNormal, float score = 0.0F) {
  return [=](SmallModel& model) { model.add(text, kind, score); };
}
Spoil trainer(std::uint32_t field, std::uint64_t value) {
  return [=](SmallModel& model) { write_varint_field(model.trainer_spec, field, value); };
}
Spoil normalizer(std::uint32_t field, std::uint64_t value) {
  return [=](SmallModel& model) { write_varint_field(model.normalizer_spec, field, value); };
}
Spoil text_field(std::string SmallModel::*part, std::uint32_t field, const std::string& text) {
  return [=](SmallModel& model) { write_bytes_field(model.*part, field, text); };
}

TEST_CASE("genuine models are accepted with their settings") {
  const auto demo = parse_model(read_model("demo"), "demo");
  CHECK(demo.type == ModelType::kBpe);
  CHECK(demo.pieces.size() == 4096);
  CHECK(demo.byte_fallback);
  CHECK((demo.add_dummy_prefix && !demo.remove_extra_whitespaces && demo.escape_whitespaces));
  CHECK((demo.unknown_id == 0 && demo.bos_id == 1 && demo.eos_id == 2));
  CHECK_FALSE(demo.charsmap.longest_rule("\xEF\xBC\xA1"));

  const auto nfkc = parse_model(read_model("unigram_nfkc"), "unigram_nfkc");
  CHECK(nfkc.type == ModelType::kUnigram);
  CHECK((!nfkc.byte_fallback && nfkc.remove_extra_whitespaces));
  CHECK(nfkc.charsmap.longest_rule("\xEF\xBC\xA1")->replacement == "A");  // a full-width A

  const auto bytes = parse_model(read_model("bpe_bytes"), "bpe_bytes");
  CHECK(bytes.unknown_surface == "?!");
  CHECK(texts_of(bytes, PieceKind::kUserDefined) == std::vector<std::string_view>{"USER", "USERS", "<sep>"});
  CHECK_FALSE(parse_model(read_model("bpe_rules"), "bpe_rules").add_dummy_prefix);
}

TEST_CASE("absent fields have protobuf's defaults") {
  SmallModel small;
  small.trainer_spec.clear();
  small.normalizer_spec.clear();
  const auto model = parse_model(small.bytes(), "m.model");
  CHECK(model.type == ModelType::kUnigram);
  CHECK((model.add_dummy_prefix && model.remove_extra_whitespaces && model.escape_whitespaces));
  CHECK(model.unknown_surface == " \xE2\x81\x87 ");
  CHECK((model.bos_id == 1 && model.eos_id == 2));
}

TEST_CASE("special ids of -1 are none") {
  SmallModel small;
  for (const std::uint32_t field : {41U, 42U, 43U}) {
    write_varint_field(small.trainer_spec, field, static_cast<std::uint64_t>(-1));
  }
  const auto model = parse_model(small.bytes(), "m.model");
  CHECK_FALSE(model.bos_id);
  CHECK_FALSE(model.eos_id);
}

TEST_CASE("unknown fields, training settings and self-test data are stepped over") {
  SmallModel small;
  write_varint_field(small.tail, 200, 7);
  write_bytes_field(small.tail, 201, "x");
  write_bytes_field(small.tail, 4, "\x0A\x02\x0A\x00 not a message");
  write_bytes_field(small.tail, 5, "");
  write_varint_field(small.trainer_spec, 4, 7);
  write_varint_field(small.trainer_spec, 4, 8);
  CHECK(parse_model(small.bytes(), "m.model").pieces.size() == small.pieces.size());
}

TEST_CASE("each rule of the model's check refuses what breaks it") {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::pair<std::string, Spoil> cases[] = {
      {"piece 7: wanted a text, found none", piece("")},
      {"piece 7: wanted at most 256 bytes, found 257", piece(std::string(257, 'x'))},
      {"piece 7: wanted no NUL, found \"x\\x00y\"", piece(std::string("x\0y", 3))},
      {"piece 7: wanted UTF-8", piece("x\xC3")},
      {"piece 7: wanted UTF-8", piece("\xED\xA0\x80")},
      {"piece 7: wanted a finite score", piece("x", PieceKind::kNormal, infinity)},
      {"piece 7: wanted a finite score", piece("x", PieceKind::kUserDefined, -infinity)},
      {"piece 7: wanted a finite score", piece("x", PieceKind::kNormal, nan)},
      {"no other piece has, found \"ab\"", piece("ab")},
      // A text that becomes the control piece once its characters are merged.
      {"no other piece has, found \"</s>\"", piece("</s>")},
      {"piece 7: wanted a type from 1 to 6, found 7", piece("x", static_cast<PieceKind>(7))},
      {"piece 7: wanted a type from 1 to 6, found 0", piece("x", static_cast<PieceKind>(0))},
      {"exactly one unknown piece, found 2", piece("<unk2>", PieceKind::kUnknown)},
      {"exactly one unknown piece, found 0",
       [](SmallModel& model) { model.pieces[0].kind = PieceKind::kNormal; }},
      {"exactly one unknown piece, found 0", [](SmallModel& model) { model.pieces.clear(); }},
      {"piece 7: wanted a control piece of two or more characters", piece("x", PieceKind::kControl)},
      {"piece 7: wanted a control piece of two or more characters", piece("\xC3\xA9", PieceKind::kControl)},
      {"piece 7: wanted a byte piece to be called", piece("x", PieceKind::kByte)},
      {"piece 7: wanted a byte piece to be called", piece("<0xaf>", PieceKind::kByte)},
      {"piece 7: wanted a byte piece to be called", piece("<0x41>", PieceKind::kNormal)},
      {"byte_fallback: wanted 0 byte pieces, found 1", piece("<0x41>", PieceKind::kByte)},
      {"byte_fallback: wanted 256 byte pieces, found 0", trainer(35, 1)},
      {"byte_fallback: wanted 256 byte pieces, found 255",
       [](SmallModel& model) {
         model.add_bytes();
         model.pieces.pop_back();
       }},
      {"model_type: wanted 1 (unigram) or 2 (BPE), found 3",
       [](SmallModel& model) { model.trainer_spec = std::string("\x18\x03"); }},
      {"model_type: wanted a 32-bit number",
       [](SmallModel& model) {
         model.trainer_spec.clear();
         write_varint_field(model.trainer_spec, 3, (std::uint64_t{1} << 32) + 2);
       }},
      {"byte_fallback: wanted 0 or 1, found 2", trainer(35, 2)},
      {"treat_whitespace_as_suffix", trainer(24, 1)},
      {"unk_id: wanted 0, the unknown piece, found 1", trainer(40, 1)},
      {"bos_id: wanted -1 or below 7, found 7", trainer(41, 7)},
      {"bos_id: wanted -1 or below 7, found -2", trainer(41, static_cast<std::uint64_t>(-2))},
      {"bos_id: wanted -1 or the id of a control piece, found 3, \"a\"", trainer(41, 3)},
      {"eos_id: wanted -1 or below 7, found 2147483647", trainer(42, 0x7FFFFFFF)},
      {"eos_id: wanted a 32-bit number", trainer(42, 0xFFFFFFFF)},
      {"pad_id: wanted -1 or the id of a control piece, found 0", trainer(43, 0)},
      {"unk_surface: wanted at most 256 bytes", text_field(&SmallModel::trainer_spec, 44, std::string(257, 'x'))},
      {"unk_surface", text_field(&SmallModel::trainer_spec, 44, "\xFF")},
      {"unk_surface", text_field(&SmallModel::trainer_spec, 44, std::string(1, '\0'))},
      {"escape_whitespaces: wanted 0 or 1, found 3", normalizer(5, 3)},
      {"precompiled_charsmap", text_field(&SmallModel::normalizer_spec, 2, "junk")},
      {"denormalizer_spec: wanted no precompiled_charsmap",
       [](SmallModel& model) {
         std::string spec;
         write_bytes_field(spec, 2, repeated_letter_charsmap(1));
         write_bytes_field(model.tail, 5, spec);
       }},
      {"field 3 once, found it again", trainer(3, 2)},
      {"field 3 once, found it again", normalizer(3, 0)},
      {"field 2 once, found it again", text_field(&SmallModel::tail, 2, "")},
      {"field 3 once, found it again", text_field(&SmallModel::tail, 3, "")},
      {"wanted piece 7 with wire type 2, found wire type 0",
       [](SmallModel& model) { write_varint_field(model.tail, 1, 1); }},
      {"wanted unk_id with wire type 0, found wire type 2", text_field(&SmallModel::trainer_spec, 40, "x")},
      {"wanted trainer_spec with wire type 2",
       [](SmallModel& model) { write_varint_field(model.tail, 2, 1); }},
      {"wanted piece 7 with wire type 5", text_field(&SmallModel::tail, 1, std::string("\x10\x01"))},
      {"wire type 0, 1, 2 or 5", [](SmallModel& model) { model.tail = "\x0B\x0C"; }},
  };
  for (const auto& [message, spoil] : cases) {
    CHECK_THAT(model_proto_refusal(spoil),
               Catch::StartsWith("m.model: ") && Catch::Contains(message) && Catch::EndsWith("."));
  }
}

TEST_CASE("a model without trainer_spec or normalizer_spec is refused as cut short") {
  const std::string whole = SmallModel().bytes();
  CHECK_THAT(model_proto_refusal(whole.substr(0, whole.size() - 6)),
             Catch::Contains("a trainer_spec and a normalizer_spec"));
  CHECK_THAT(model_proto_refusal(std::string()), Catch::Contains("a trainer_spec and a normalizer_spec"));
}

TEST_CASE("a control piece of one character is refused for BPE only") {
  SmallModel small;
  small.add("\n", PieceKind::kControl);
  small.trainer_spec.clear();  // unigram
  CHECK_NOTHROW(parse_model(small.bytes(), "m.model"));
}

TEST_CASE("models beyond the limits are refused") {
  CHECK_THAT(model_proto_refusal(std::string(kMaxModelBytes + 1, '\0')),
             Catch::Contains("at most 67108864 bytes"));
  CHECK_THAT(model_proto_refusal([](SmallModel& model) {
               for (std::size_t i = model.pieces.size(); i <= kMaxPieces; ++i) model.add("x");
             }),
             Catch::Contains("at most 1000000 pieces, found more"));
  const auto many = [](std::size_t count, PieceKind kind) {
    return [=](SmallModel& model) {
      for (std::size_t i = 0; i < count; ++i) model.add(fmt::format("{:x<250}{:06}", "", i), kind);
    };
  };
  CHECK_THAT(model_proto_refusal(many(kMaxPieceTextBytes / 256, PieceKind::kNormal)),
             Catch::Contains("at most 8388608 bytes of text"));
  CHECK_THAT(model_proto_refusal(many(kMaxSpecialTextBytes / 256, PieceKind::kUserDefined)),
             Catch::Contains("1048576 of it in control and user-defined pieces"));
}

TEST_CASE("user-defined pieces may begin one another, up to a depth") {
  const auto nested = [](std::size_t depth) {
    return [=](SmallModel& model) {
      for (std::size_t i = 1; i <= depth; ++i)
        model.add(fmt::format("{:x<{}}", "U", i), PieceKind::kUserDefined);
    };
  };
  SmallModel model;
  nested(kMaxNestedUserDefined)(model);
  CHECK(parse_model(model.bytes(), "m.model").pieces.size() == 7 + kMaxNestedUserDefined);
  CHECK_THAT(model_proto_refusal(nested(kMaxNestedUserDefined + 1)),
             Catch::Contains("at most 64 that begin one another"));
}

TEST_CASE("a model cut anywhere is refused") {
  SmallModel small;
  small.add("<sep>", PieceKind::kUserDefined);
  write_bytes_field(small.normalizer_spec, 2, repeated_letter_charsmap(2));
  const std::string models[] = {small.bytes(), read_model("bpe_bytes"), read_model("demo"),
                                read_model("unigram_nfkc")};
  for (const std::string& bytes : models) {
    REQUIRE_NOTHROW(parse_model(bytes, "m.model"));
    const std::size_t step = 1 + bytes.size() / 1500;
    std::size_t accepted = 0;
    for (std::size_t size = bytes.size() % step; size < bytes.size(); size += step) {
      try {
        parse_model(std::string_view(bytes).substr(0, size), "m.model");
        ++accepted;
      } catch (const TokenizerError&) {
      }
    }
    CHECK(accepted == 0);
  }
}

// What passes the check is used: SentencePiece must neither crash nor hang nor throw something else.
TEST_CASE("a model with flipped bits is refused or works") {
  SmallModel small;
  small.add("<sep>", PieceKind::kUserDefined);
  small.add("aab", PieceKind::kUnused);
  write_bytes_field(small.normalizer_spec, 2, repeated_letter_charsmap(3));
  const std::string text = "ab aab<sep>bb</s>\xF0\x9F\x98\x80 \xFF" + std::string("\0a", 2);
  std::size_t accepted = 0, refused = 0;
  const auto try_model = [&](const std::string& bytes) {
    try {
      const Tokenizer tokenizer = Tokenizer::from_model(bytes, "m.model");
      for (const auto special : {SpecialTokens::kPlain, SpecialTokens::kParse}) {
        const auto ids = tokenizer.encode(text, special);
        for (const TokenId id : ids) REQUIRE((id >= 0 && id < tokenizer.vocab_size()));
        tokenizer.decode(ids);
      }
      ++accepted;
    } catch (const TokenizerError&) {
      ++refused;
    }
  };
  const auto flip_every_bit = [&](std::string bytes, std::size_t step) {
    for (std::size_t bit = 0; bit < 8 * bytes.size(); bit += step) {
      const char byte = bytes[bit / 8];
      bytes[bit / 8] = static_cast<char>(byte ^ (1 << bit % 8));
      try_model(bytes);
      bytes[bit / 8] = byte;
    }
  };
  flip_every_bit(SmallModel().bytes(), 1);
  flip_every_bit(small.bytes(), 31);
  flip_every_bit(read_model("bpe_bytes"), 97);
  flip_every_bit(read_model("unigram_nfkc"), 9973);
  CHECK(accepted > 100);
  CHECK(refused > 100);
}

TEST_CASE("the model for segmentation holds the pieces and byte pieces for unknown characters") {
  const auto model = parse_model(SmallModel().bytes(), "m.model");
  const auto copy = parse_model(segmentation_model(model), "copy");
  REQUIRE(copy.pieces.size() == model.pieces.size() + 256);
  CHECK(copy.pieces[5].text == "ab");
  CHECK(copy.pieces[5].score == model.pieces[5].score);
  CHECK(copy.byte_fallback);
  CHECK((!copy.add_dummy_prefix && !copy.remove_extra_whitespaces && !copy.escape_whitespaces));
}

TEST_CASE("a byte piece's text names its byte") {
  CHECK(byte_of("<0x00>") == '\0');
  CHECK(byte_of("<0xFF>") == '\xFF');
  CHECK(byte_of("<0x4A>") == 'J');
  for (const char* text : {"", "<0x4a>", "<0x4>", "<0x4A", "<0X4A>", "<0xG0>", "<0x4A>x"})
    CHECK_FALSE(byte_of(text));
}

}  // namespace
}  // namespace ttt::tokenizer
