// SPDX-License-Identifier: Apache-2.0
// A SentencePiece model file (protobuf ModelProto), read by us within limits and checked, because
// SentencePiece 0.1.97 crashes or hangs on hostile ones. SentencePiece itself never sees the file's bytes,
// only segmentation_model(). Private to this folder.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/charsmap.h"
#include "tokenizer/tokenizer.h"

namespace ttt::tokenizer {

inline constexpr std::size_t kMaxModelBytes = std::size_t{64} << 20;
inline constexpr std::size_t kMaxPieces = 1'000'000;
inline constexpr std::size_t kMaxPieceBytes = 256;  // SentencePiece's time grows with it
// SentencePiece's index over random texts takes 1.5 s a MiB; vocabularies of 256,000 pieces have 2 MiB.
inline constexpr std::size_t kMaxPieceTextBytes = std::size_t{8} << 20;
inline constexpr std::size_t kMaxSpecialTextBytes = std::size_t{1} << 20;  // control and user-defined pieces
inline constexpr std::size_t kMaxNestedUserDefined = 64;  // SentencePiece's match buffer on the stack

// TrainerSpec.ModelType. Word and char models are refused: both look a whole stretch of text up among the
// control pieces, so that "</s>" in a text could become the token.
enum class ModelType { kUnigram = 1, kBpe = 2 };

// Members without a note: the field of the same name. Defaults: those of the protobuf definition.
struct SentencePieceModel {
  ModelType type = ModelType::kUnigram;
  std::vector<Piece> pieces;
  TokenId unknown_id = 0;
  std::optional<TokenId> bos_id = 1;  // none: -1 in the file
  std::optional<TokenId> eos_id = 2;
  std::string unknown_surface = " \xE2\x81\x87 ";  // unk_surface, the text of the unknown piece
  bool byte_fallback = false;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  CharsMap charsmap;
};

// Reads and checks. Throws TokenizerError, naming `name`, for anything that is not a well-formed ModelProto
// with, besides what WireReader wants:
//  - at most kMaxModelBytes; trainer_spec and normalizer_spec present (so that a cut file is noticed); no
//    singular field twice; known fields of their own wire type and range;
//  - 1 to kMaxPieces pieces, each 1 to kMaxPieceBytes of UTF-8 without NUL, together within the limits
//    above, no text twice whatever the kinds, finite scores, known kinds; exactly one unknown piece;
//  - unk_id at the unknown piece; bos_id, eos_id and pad_id -1 or at a control piece;
//  - byte pieces <0x00> to <0xFF>, all of them with byte_fallback and none without; no other piece so called;
//  - at most kMaxNestedUserDefined user-defined pieces that begin one another;
//  - in a BPE model no control piece of one character (the character in a text would become the piece);
//  - a charsmap that CharsMap accepts; none for denormalisation, and no treat_whitespace_as_suffix: both
//    change text that was streamed already.
// Unknown fields, training settings and self_test_data are stepped over.
SentencePieceModel parse_model(std::string_view bytes, std::string_view name);

// A ModelProto, written by us, with the pieces and what segmentation needs. Its normaliser does nothing. A
// model without byte pieces gets them behind its own pieces: SentencePiece then writes an unknown character
// as bytes instead of joining unknown characters one by one, which takes time quadratic in their number.
std::string segmentation_model(const SentencePieceModel& model);

// A ModelProto with these pieces and settings; parse_model gives the same back. REQUIRES: no charsmap.
std::string model_file(const SentencePieceModel& model);

// Texts of all pieces of one kind; views into the model.
std::vector<std::string_view> texts_of(const SentencePieceModel& model, PieceKind kind);

// The byte of a byte piece's text "<0xHH>"; nothing for another text.
std::optional<char> byte_of(std::string_view text);

}  // namespace ttt::tokenizer
