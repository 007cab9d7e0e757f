// SPDX-License-Identifier: Apache-2.0
#include "tests/tokenizer/small_model.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>
#include <sstream>

#include "tokenizer/protobuf_wire.h"
#include "tokenizer/utf8.h"

namespace ttt::tokenizer {

std::string read_file(const std::string& name) {
  std::ifstream file(std::string(TTT_TEST_DATA) + "/tokenizer/" + name, std::ios::binary);
  REQUIRE(file);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string unescaped(std::string_view text) {
  std::string out;
  if (text == "-") return out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out += text[i];
    } else {
      out += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    }
  }
  return out;
}

std::vector<TokenId> parsed_ids(const std::string& text) {
  std::vector<TokenId> ids;
  std::istringstream numbers(text);
  for (std::string number; text != "-" && std::getline(numbers, number, ',');)
    ids.push_back(std::stoi(number));
  return ids;
}

std::string read_model(std::string_view name) { return read_file(fmt::format("{}.model", name)); }

Tokenizer load_model(std::string_view name) { return Tokenizer::from_model(read_model(name), name); }

SmallModel::SmallModel() {
  add("<unk>", PieceKind::kUnknown);
  add("<s>", PieceKind::kControl);
  add("</s>", PieceKind::kControl);
  for (const std::string_view text : {std::string_view("a"), std::string_view("b"), std::string_view("ab")}) {
    add(text);
  }
  add(kSpaceSymbol);
  write_varint_field(trainer_spec, 3, 2);
  write_varint_field(normalizer_spec, 3, 0);
  write_varint_field(normalizer_spec, 4, 0);
}

void SmallModel::add(std::string_view text, PieceKind kind, float score) {
  pieces.push_back({std::string(text), score, kind});
}

void SmallModel::add_bytes() {
  for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), PieceKind::kByte);
  write_varint_field(trainer_spec, 35, 1);
}

std::string SmallModel::bytes() const {
  std::string out;
  for (const Piece& piece : pieces) {
    std::string message;
    write_bytes_field(message, 1, piece.text);
    write_float_field(message, 2, piece.score);
    write_varint_field(message, 3, static_cast<std::uint64_t>(piece.kind));
    write_bytes_field(out, 1, message);
  }
  write_bytes_field(out, 2, trainer_spec);
  write_bytes_field(out, 3, normalizer_spec);
  return out + tail;
}

std::string charsmap_of(std::span<const std::uint32_t> units, std::string_view replacements) {
  std::string out;
  const auto append = [&](std::uint32_t value) {
    for (unsigned shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift & 0xFF);
  };
  append(static_cast<std::uint32_t>(4 * units.size()));
  for (const std::uint32_t unit : units) append(unit);
  return out += replacements;
}

// The children of depth d lie in block d + 1 of 256 units, so that unit 256 (d + 1) is the leaf there.
std::string repeated_letter_charsmap(std::size_t longest) {
  std::vector<std::uint32_t> units(256 * (longest + 2));
  for (std::uint32_t i = 0; i < units.size(); ++i) units[i] = i & 0xFF ? 0 : 0xFF;  // a label nothing has
  std::string replacements;
  std::uint32_t index = 0;
  units[0] = 256U << 10;
  for (std::uint32_t length = 1; length <= longest; ++length) {
    const std::uint32_t block = 256 * length;
    index = block ^ 'a';
    units[index] = (index ^ (block + 256)) << 10 | 1U << 8 | 'a';
    units[block + 256] = 1U << 31 | static_cast<std::uint32_t>(replacements.size());
    replacements += fmt::format("<{}>", length);
    replacements += '\0';
  }
  return charsmap_of(units, replacements);
}

Reference::Reference(std::string_view model)
    : processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  REQUIRE(processor_->LoadFromSerializedProto(model).ok());
}

Reference::~Reference() = default;

std::vector<TokenId> Reference::encode(std::string_view text) const {
  std::vector<TokenId> ids;
  REQUIRE(processor_->Encode(text, &ids).ok());
  return ids;
}

std::string Reference::decode(std::span<const TokenId> ids) const {
  std::string text;
  REQUIRE(processor_->Decode(std::vector<int>(ids.begin(), ids.end()), &text).ok());
  return text;
}

std::vector<GoldenLine> read_golden_lines() {
  std::istringstream file(read_file("golden_ids.txt"));
  std::vector<GoldenLine> lines;
  std::string model, kind, text, ids;
  while (file >> model >> kind >> text >> ids) {
    lines.push_back({model, kind == "d", unescaped(text), parsed_ids(ids)});
  }
  return lines;
}

std::vector<TokenId> random_ids(const Tokenizer& tokenizer, std::mt19937& random) {
  const auto below = [&](std::int32_t limit) { return std::uniform_int_distribution(0, limit - 1)(random); };
  const std::optional<TokenId> first_byte = tokenizer.find_piece("<0x00>");
  const std::optional<TokenId> space = tokenizer.find_piece(kSpaceSymbol);
  const std::int32_t usual = below(4);  // what this sequence is mostly made of
  std::vector<TokenId> ids;
  for (std::int32_t left = below(24); left > 0; --left) {
    switch (below(3) > 0 ? usual : below(4)) {
      case 0:
        ids.push_back(below(tokenizer.vocab_size()));
        break;
      case 1:  // bytes from 0x80 on, where characters break
        ids.push_back(first_byte ? *first_byte + 128 + below(128) : tokenizer.unknown_id());
        break;
      case 2:
        ids.push_back(space.value_or(0));
        break;
      default:
        ids.push_back(below(2) ? tokenizer.unknown_id() : tokenizer.bos_id().value_or(0));
        break;
    }
    if (!first_byte || below(6) > 0) continue;
    for (const char byte : std::string_view("\xF0\x9F\x91\xA9\xE2\x82\xAC")) {
      ids.push_back(*first_byte + static_cast<unsigned char>(byte));
    }
  }
  return ids;
}

std::string refusal_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const TokenizerError& error) {
    return error.what();
  }
  FAIL("nothing was refused");
  return {};
}

}  // namespace ttt::tokenizer
