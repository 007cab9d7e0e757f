// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/model_proto.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <bitset>
#include <cmath>
#include <cstdint>
#include <limits>
#include <unordered_set>

#include "tokenizer/protobuf_wire.h"
#include "tokenizer/refusal.h"
#include "tokenizer/utf8.h"

namespace ttt::tokenizer {
namespace {

// Field numbers of sentencepiece_model.proto.
namespace model_field {
constexpr std::uint32_t kPieces = 1, kTrainerSpec = 2, kNormalizerSpec = 3, kDenormalizerSpec = 5;
}
namespace piece_field {
constexpr std::uint32_t kPiece = 1, kScore = 2, kType = 3;
}
namespace trainer_field {
constexpr std::uint32_t kModelType = 3, kTreatWhitespaceAsSuffix = 24, kByteFallback = 35, kUnkId = 40,
                        kBosId = 41, kEosId = 42, kPadId = 43, kUnkSurface = 44;
}
namespace normalizer_field {
constexpr std::uint32_t kPrecompiledCharsmap = 2, kAddDummyPrefix = 3, kRemoveExtraWhitespaces = 4,
                        kEscapeWhitespaces = 5;
}

constexpr std::size_t kMaxSurfaceBytes = 256;

// Reads one file; holds what is known of it so far.
class ModelParser {
 public:
  ModelParser(std::string_view bytes, std::string_view name) : bytes_(bytes), name_(name) {}
  SentencePieceModel parse();

 private:
  // Calls `handle` for each field of `message`, which begins at `base` in the file. `handle` returns
  // whether the field is one that it knows and that may stand once only; a second one is refused.
  template <typename Handle>
  void walk(std::string_view message, std::size_t base, Handle handle) const;
  void parse_piece(const WireField& message);
  void parse_trainer_spec(const WireField& message);
  void parse_normalizer_spec(const WireField& message);
  void parse_denormalizer_spec(const WireField& message) const;

  bool boolean(const WireField& field, std::string_view what) const;
  std::int32_t integer(const WireField& field, std::string_view what) const;
  std::string_view bytes(const WireField& field, std::string_view what) const;
  void want_type(const WireField& field, WireType type, std::string_view what) const;

  void check_pieces() const;
  void check_bytes() const;
  void check_nested_user_defined() const;
  void check_special_ids();
  std::optional<TokenId> control_id(std::int32_t id, std::string_view what) const;

  [[noreturn]] void reject(std::string_view where, std::string_view wanted, std::string_view found) const {
    refuse({.model = name_, .where = where, .wanted = wanted, .found = found});
  }

  std::string_view bytes_;
  std::string_view name_;
  SentencePieceModel model_;
  std::int32_t unk_id_ = 0;
  std::int32_t bos_id_ = 1;
  std::int32_t eos_id_ = 2;
  std::int32_t pad_id_ = -1;
};

SentencePieceModel ModelParser::parse() {
  if (bytes_.size() > kMaxModelBytes) {
    reject("the file", fmt::format("at most {} bytes", kMaxModelBytes), fmt::format("{}", bytes_.size()));
  }
  bool has_trainer_spec = false;
  bool has_normalizer_spec = false;
  walk(bytes_, 0, [&](const WireField& field) {
    switch (field.number) {
      case model_field::kPieces:
        parse_piece(field);
        return false;
      case model_field::kTrainerSpec:
        parse_trainer_spec(field);
        return has_trainer_spec = true;
      case model_field::kNormalizerSpec:
        parse_normalizer_spec(field);
        return has_normalizer_spec = true;
      case model_field::kDenormalizerSpec:
        parse_denormalizer_spec(field);
        return true;
      default:
        return false;
    }
  });
  if (!has_trainer_spec || !has_normalizer_spec) {
    reject("the file", "a trainer_spec and a normalizer_spec", "the end of the data without them");
  }
  check_pieces();
  check_bytes();
  check_nested_user_defined();
  check_special_ids();
  return std::move(model_);
}

template <typename Handle>
void ModelParser::walk(std::string_view message, std::size_t base, Handle handle) const {
  std::bitset<64> seen;  // all known fields have numbers below 64
  WireReader reader(message, base, name_);
  while (const auto field = reader.next()) {
    if (!handle(*field)) continue;
    if (seen[field->number]) {
      reject(fmt::format("byte {}", field->offset), fmt::format("field {} once", field->number), "it again");
    }
    seen.set(field->number);
  }
}

void ModelParser::parse_piece(const WireField& message) {
  const std::string where = fmt::format("piece {}", model_.pieces.size());
  if (model_.pieces.size() == kMaxPieces) {
    reject("the file", fmt::format("at most {} pieces", kMaxPieces), "more");
  }
  Piece piece;
  walk(bytes(message, where), message.bytes_offset, [&](const WireField& field) {
    switch (field.number) {
      case piece_field::kPiece: {
        const std::string_view text = bytes(field, where);
        if (text.size() > kMaxPieceBytes) {
          reject(where, fmt::format("at most {} bytes", kMaxPieceBytes), fmt::format("{}", text.size()));
        }
        piece.text = text;
        return true;
      }
      case piece_field::kScore:
        want_type(field, WireType::kFixed32, where);
        piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
        return true;
      case piece_field::kType: {
        const std::int32_t kind = integer(field, where);
        if (kind < 1 || kind > 6) reject(where, "a type from 1 to 6", fmt::format("{}", kind));
        piece.kind = static_cast<PieceKind>(kind);
        return true;
      }
      default:
        return false;
    }
  });
  model_.pieces.push_back(std::move(piece));
}

void ModelParser::parse_trainer_spec(const WireField& message) {
  walk(bytes(message, "trainer_spec"), message.bytes_offset, [&](const WireField& field) {
    switch (field.number) {
      case trainer_field::kModelType: {
        const std::int32_t type = integer(field, "model_type");
        if (type != 1 && type != 2) {
          reject("model_type", "1 (unigram) or 2 (BPE)", fmt::format("{}", type));
        }
        model_.type = static_cast<ModelType>(type);
        return true;
      }
      case trainer_field::kTreatWhitespaceAsSuffix:
        if (boolean(field, "treat_whitespace_as_suffix")) {
          reject("treat_whitespace_as_suffix", "false, the only value supported", "true");
        }
        return true;
      case trainer_field::kByteFallback:
        model_.byte_fallback = boolean(field, "byte_fallback");
        return true;
      case trainer_field::kUnkId:
        unk_id_ = integer(field, "unk_id");
        return true;
      case trainer_field::kBosId:
        bos_id_ = integer(field, "bos_id");
        return true;
      case trainer_field::kEosId:
        eos_id_ = integer(field, "eos_id");
        return true;
      case trainer_field::kPadId:
        pad_id_ = integer(field, "pad_id");
        return true;
      case trainer_field::kUnkSurface: {
        const std::string_view surface = bytes(field, "unk_surface");
        const bool has_nul = surface.find('\0') != std::string_view::npos;
        if (surface.size() > kMaxSurfaceBytes || has_nul || !is_valid_utf8(surface)) {
          reject("unk_surface", fmt::format("at most {} bytes of UTF-8 without NUL", kMaxSurfaceBytes),
                 quoted(surface));
        }
        model_.unknown_surface = surface;
        return true;
      }
      default:
        return false;
    }
  });
}

void ModelParser::parse_normalizer_spec(const WireField& message) {
  walk(bytes(message, "normalizer_spec"), message.bytes_offset, [&](const WireField& field) {
    switch (field.number) {
      case normalizer_field::kPrecompiledCharsmap:
        model_.charsmap = CharsMap(bytes(field, "precompiled_charsmap"), name_);
        return true;
      case normalizer_field::kAddDummyPrefix:
        model_.add_dummy_prefix = boolean(field, "add_dummy_prefix");
        return true;
      case normalizer_field::kRemoveExtraWhitespaces:
        model_.remove_extra_whitespaces = boolean(field, "remove_extra_whitespaces");
        return true;
      case normalizer_field::kEscapeWhitespaces:
        model_.escape_whitespaces = boolean(field, "escape_whitespaces");
        return true;
      default:
        return false;
    }
  });
}

void ModelParser::parse_denormalizer_spec(const WireField& message) const {
  walk(bytes(message, "denormalizer_spec"), message.bytes_offset, [&](const WireField& field) {
    if (field.number != normalizer_field::kPrecompiledCharsmap) return false;
    if (!bytes(field, "denormalizer_spec").empty()) {
      reject("denormalizer_spec", "no precompiled_charsmap", "one, which streamed text cannot follow");
    }
    return true;
  });
}

void ModelParser::want_type(const WireField& field, WireType type, std::string_view what) const {
  if (field.type == type) return;
  reject(fmt::format("byte {}", field.offset),
         fmt::format("{} with wire type {}", what, static_cast<int>(type)),
         fmt::format("wire type {}", static_cast<int>(field.type)));
}

bool ModelParser::boolean(const WireField& field, std::string_view what) const {
  want_type(field, WireType::kVarint, what);
  if (field.value > 1) reject(what, "0 or 1", fmt::format("{}", field.value));
  return field.value == 1;
}

// A negative int32 is written as the ten bytes of the same int64.
std::int32_t ModelParser::integer(const WireField& field, std::string_view what) const {
  want_type(field, WireType::kVarint, what);
  const auto value = static_cast<std::int64_t>(field.value);
  if (value != static_cast<std::int32_t>(value)) reject(what, "a 32-bit number", fmt::format("{}", value));
  return static_cast<std::int32_t>(value);
}

std::string_view ModelParser::bytes(const WireField& field, std::string_view what) const {
  want_type(field, WireType::kBytes, what);
  return field.bytes;
}

void ModelParser::check_pieces() const {
  const std::vector<Piece>& pieces = model_.pieces;
  std::size_t text_bytes = 0;
  std::size_t special_bytes = 0;
  for (const Piece& piece : pieces) {
    text_bytes += piece.text.size();
    const bool special = piece.kind == PieceKind::kControl || piece.kind == PieceKind::kUserDefined;
    if (special) special_bytes += piece.text.size();
  }
  if (text_bytes > kMaxPieceTextBytes || special_bytes > kMaxSpecialTextBytes) {
    reject("pieces",
           fmt::format("at most {} bytes of text, {} of it in control and user-defined pieces",
                       kMaxPieceTextBytes, kMaxSpecialTextBytes),
           fmt::format("{} and {}", text_bytes, special_bytes));
  }
  std::unordered_set<std::string_view> texts;
  texts.reserve(pieces.size());
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    const Piece& piece = pieces[id];
    const auto where = [&] { return fmt::format("piece {}", id); };
    if (piece.text.empty()) reject(where(), "a text", "none");
    if (piece.text.find('\0') != std::string::npos) reject(where(), "no NUL", quoted(piece.text));
    if (!is_valid_utf8(piece.text)) reject(where(), "UTF-8", quoted(piece.text));
    if (!std::isfinite(piece.score)) reject(where(), "a finite score", fmt::format("{}", piece.score));
    if (!texts.insert(piece.text).second) {
      reject(where(), "a text that no other piece has", quoted(piece.text));
    }
    const bool one_character = valid_character_length(piece.text) == piece.text.size();
    if (model_.type == ModelType::kBpe && piece.kind == PieceKind::kControl && one_character) {
      reject(where(), "a control piece of two or more characters", quoted(piece.text));
    }
  }
}

void ModelParser::check_bytes() const {
  std::size_t count = 0;
  for (std::size_t id = 0; id < model_.pieces.size(); ++id) {
    const Piece& piece = model_.pieces[id];
    const bool is_byte = piece.kind == PieceKind::kByte;
    if (is_byte != byte_of(piece.text).has_value()) {
      reject(fmt::format("piece {}", id), "a byte piece to be called <0x00> to <0xFF>, and no other",
             fmt::format("type {}, {}", static_cast<int>(piece.kind), quoted(piece.text)));
    }
    if (is_byte) ++count;  // texts are unique, so 256 of them are all
  }
  const std::size_t wanted = model_.byte_fallback ? 256 : 0;
  if (count != wanted) {
    reject("byte_fallback", fmt::format("{} byte pieces", wanted), fmt::format("{}", count));
  }
}

void ModelParser::check_nested_user_defined() const {
  std::vector<std::string_view> texts = texts_of(model_, PieceKind::kUserDefined);
  std::sort(texts.begin(), texts.end());
  std::vector<std::string_view> nested;  // each begins the next
  for (const std::string_view text : texts) {
    while (!nested.empty() && !text.starts_with(nested.back())) nested.pop_back();
    nested.push_back(text);
    if (nested.size() > kMaxNestedUserDefined) {
      reject("user-defined pieces", fmt::format("at most {} that begin one another", kMaxNestedUserDefined),
             fmt::format("more, up to {}", quoted(text)));
    }
  }
}

void ModelParser::check_special_ids() {
  const std::vector<Piece>& pieces = model_.pieces;
  const auto unknown = [](const Piece& piece) { return piece.kind == PieceKind::kUnknown; };
  const auto count = std::count_if(pieces.begin(), pieces.end(), unknown);
  if (count != 1) reject("pieces", "exactly one unknown piece", fmt::format("{}", count));
  const auto id = std::find_if(pieces.begin(), pieces.end(), unknown) - pieces.begin();
  if (id != unk_id_) reject("unk_id", fmt::format("{}, the unknown piece", id), fmt::format("{}", unk_id_));
  model_.unknown_id = unk_id_;
  model_.bos_id = control_id(bos_id_, "bos_id");
  model_.eos_id = control_id(eos_id_, "eos_id");
  control_id(pad_id_, "pad_id");
}

std::optional<TokenId> ModelParser::control_id(std::int32_t id, std::string_view what) const {
  if (id == -1) return std::nullopt;
  const std::vector<Piece>& pieces = model_.pieces;
  const bool in_range = id >= 0 && static_cast<std::size_t>(id) < pieces.size();
  if (!in_range) reject(what, fmt::format("-1 or below {}", pieces.size()), fmt::format("{}", id));
  const Piece& piece = pieces[static_cast<std::size_t>(id)];
  if (piece.kind != PieceKind::kControl) {
    reject(what, "-1 or the id of a control piece", fmt::format("{}, {}", id, quoted(piece.text)));
  }
  return id;
}

void write_piece(const Piece& piece, std::string& out) {
  std::string message;
  write_bytes_field(message, piece_field::kPiece, piece.text);
  write_float_field(message, piece_field::kScore, piece.score);
  write_varint_field(message, piece_field::kType, static_cast<std::uint64_t>(piece.kind));
  write_bytes_field(out, model_field::kPieces, message);
}

}  // namespace

SentencePieceModel parse_model(std::string_view bytes, std::string_view name) {
  return ModelParser(bytes, name).parse();
}

std::string segmentation_model(const SentencePieceModel& model) {
  std::string out;
  for (const Piece& piece : model.pieces) write_piece(piece, out);
  for (int byte = 0; byte < 256 && !model.byte_fallback; ++byte) {
    write_piece({fmt::format("<0x{:02X}>", byte), 0.0F, PieceKind::kByte}, out);
  }
  std::string trainer_spec;
  write_varint_field(trainer_spec, trainer_field::kModelType, static_cast<std::uint64_t>(model.type));
  write_varint_field(trainer_spec, trainer_field::kByteFallback, 1);
  write_bytes_field(out, model_field::kTrainerSpec, trainer_spec);
  std::string normalizer_spec;
  write_varint_field(normalizer_spec, normalizer_field::kAddDummyPrefix, 0);
  write_varint_field(normalizer_spec, normalizer_field::kRemoveExtraWhitespaces, 0);
  write_varint_field(normalizer_spec, normalizer_field::kEscapeWhitespaces, 0);
  write_bytes_field(out, model_field::kNormalizerSpec, normalizer_spec);
  return out;
}

std::string model_file(const SentencePieceModel& model) {
  std::string out;
  for (const Piece& piece : model.pieces) write_piece(piece, out);
  const auto id = [](std::optional<TokenId> token) {  // int32: sign-extended to 64 bits
    return static_cast<std::uint64_t>(std::int64_t{token.value_or(-1)});
  };
  std::string trainer_spec;
  write_varint_field(trainer_spec, trainer_field::kModelType, static_cast<std::uint64_t>(model.type));
  write_varint_field(trainer_spec, trainer_field::kByteFallback, model.byte_fallback ? 1 : 0);
  write_varint_field(trainer_spec, trainer_field::kUnkId, id(model.unknown_id));
  write_varint_field(trainer_spec, trainer_field::kBosId, id(model.bos_id));
  write_varint_field(trainer_spec, trainer_field::kEosId, id(model.eos_id));
  write_bytes_field(trainer_spec, trainer_field::kUnkSurface, model.unknown_surface);
  write_bytes_field(out, model_field::kTrainerSpec, trainer_spec);
  std::string normalizer_spec;
  const auto flag = [&](std::uint32_t number, bool value) {
    write_varint_field(normalizer_spec, number, value ? 1 : 0);
  };
  flag(normalizer_field::kAddDummyPrefix, model.add_dummy_prefix);
  flag(normalizer_field::kRemoveExtraWhitespaces, model.remove_extra_whitespaces);
  flag(normalizer_field::kEscapeWhitespaces, model.escape_whitespaces);
  write_bytes_field(out, model_field::kNormalizerSpec, normalizer_spec);
  return out;
}

std::vector<std::string_view> texts_of(const SentencePieceModel& model, PieceKind kind) {
  std::vector<std::string_view> texts;
  for (const Piece& piece : model.pieces) {
    if (piece.kind == kind) texts.push_back(piece.text);
  }
  return texts;
}

std::optional<char> byte_of(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const std::size_t high = kDigits.find(text[3]);
  const std::size_t low = kDigits.find(text[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

}  // namespace ttt::tokenizer
