// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/segmenter.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <exception>
#include <string>

#include "tokenizer/refusal.h"
#include "tokenizer/utf8.h"

namespace ttt::tokenizer {
namespace {

// A vocabulary of 32,000 pieces has some 15,000 pairs of neighbours, one of 256,000 some 300,000.
constexpr unsigned kNeighbourBits = 22;

// The character's bytes as a number.
std::uint64_t packed(std::string_view character) {
  std::uint64_t value = 0;
  for (const char c : character) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

std::size_t pair_index(std::string_view left, std::string_view right) {
  const std::uint64_t hash = (packed(left) << 32 | packed(right)) * 0x9E3779B97F4A7C15U;
  return static_cast<std::size_t>(hash >> (64 - kNeighbourBits));
}

std::string_view first_character(std::string_view text) { return text.substr(0, character_length(text[0])); }

std::string_view last_character(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while (is_trail_byte(text[begin])) --begin;
  return text.substr(begin);
}

// Calls the library. What it throws or returns as an error becomes a TokenizerError.
template <typename Call>
void guarded(std::string_view what, Call call) {
  std::string message;
  try {
    const sentencepiece::util::Status status = call();
    if (status.ok()) return;
    message = status.ToString();
  } catch (const std::exception& error) {
    message = error.what();
  }
  throw TokenizerError(fmt::format("{}: SentencePiece says: {}", what, quoted(message)));
}

}  // namespace

Segmenter::Segmenter(const SentencePieceModel& model, std::string_view name)
    : model_(model),
      processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()),
      neighbours_(std::size_t{1} << kNeighbourBits) {
  guarded(name, [&] { return processor_->LoadFromSerializedProto(segmentation_model(model)); });
  for (const Piece& piece : model.pieces) {
    const bool in_text = piece.kind == PieceKind::kNormal || piece.kind == PieceKind::kUserDefined ||
                         piece.kind == PieceKind::kUnused;
    if (in_text) note_neighbours(piece.text);
  }
}

Segmenter::~Segmenter() = default;

void Segmenter::append_ids(std::string_view normalized, std::vector<TokenId>& ids) const {
  std::vector<int> stretch_ids;
  const std::size_t first = ids.size();
  while (!normalized.empty()) {
    const std::string_view stretch = normalized.substr(0, find_cut(normalized));
    if (stretch.size() > kMaxStretchBytes) {
      throw TokenizerError(
          fmt::format("the text has {} bytes that cannot be divided between tokens, at most "
                      "{} are supported; put spaces or line ends into it",
                      stretch.size(), kMaxStretchBytes));
    }
    normalized.remove_prefix(stretch.size());
    guarded("the text", [&] { return processor_->Encode(stretch, &stretch_ids); });
    for (const int id : stretch_ids) {
      const bool known = id < static_cast<int>(model_.pieces.size());
      // A run of bytes of unknown characters is one unknown piece.
      if (!known && ids.size() > first && ids.back() == model_.unknown_id) continue;
      ids.push_back(known ? id : model_.unknown_id);
    }
  }
}

// Where the first stretch of `text` ends: the first cut after kStretchBytes, or the end of the text.
std::size_t Segmenter::find_cut(std::string_view text) const {
  if (text.size() <= kStretchBytes) return text.size();
  std::size_t cut = kStretchBytes;
  while (cut < text.size() && is_trail_byte(text[cut])) ++cut;
  std::string_view left = last_character(text.substr(0, cut));
  while (cut < text.size()) {
    const std::string_view right = first_character(text.substr(cut));
    if (!neighbours(left, right)) return cut;
    left = right;
    cut += right.size();
  }
  return cut;
}

void Segmenter::note_neighbours(std::string_view piece) {
  std::string_view left = first_character(piece);
  for (piece.remove_prefix(left.size()); !piece.empty(); piece.remove_prefix(left.size())) {
    const std::string_view right = first_character(piece);
    neighbours_[pair_index(left, right)] = true;
    left = right;
  }
}

bool Segmenter::neighbours(std::string_view left, std::string_view right) const {
  return neighbours_[pair_index(left, right)];
}

}  // namespace ttt::tokenizer
