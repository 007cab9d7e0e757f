// SPDX-License-Identifier: Apache-2.0
// What the tests of this folder share: the committed models, hand-made ones, and the SentencePiece library
// itself as the reference.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace ttt::tokenizer {

inline constexpr std::string_view kModelNames[] = {"demo", "unigram_nfkc", "bpe_bytes", "bpe_rules"};

std::string read_file(const std::string& name);  // of this folder
std::string read_model(std::string_view name);
Tokenizer load_model(std::string_view name);

// A ModelProto in parts, each of which a test may spoil. As made: an unknown piece, bos and eos as ids 0 to
// 2, then "a", "b", "ab", "▁"; BPE; no space prefix, spaces kept.
struct SmallModel {
  std::vector<Piece> pieces;
  std::string trainer_spec;     // fields
  std::string normalizer_spec;  // fields
  std::string tail;             // fields of the ModelProto itself

  SmallModel();
  void add(std::string_view text, PieceKind kind = PieceKind::kNormal, float score = -1.0F);
  void add_bytes();  // the 256 byte pieces and byte_fallback
  std::string bytes() const;
};

// A precompiled_charsmap that maps k letters 'a' to "<k>", for each k from 1 to `longest`.
std::string repeated_letter_charsmap(std::size_t longest);
std::string charsmap_of(std::span<const std::uint32_t> units, std::string_view replacements);

// The library with the model's own bytes, for models that are known to be harmless.
class Reference {
 public:
  explicit Reference(std::string_view model);
  ~Reference();
  std::vector<TokenId> encode(std::string_view text) const;
  std::string decode(std::span<const TokenId> ids) const;

 private:
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
};

// A line of golden_ids.txt.
struct GoldenLine {
  std::string model;
  bool decode = false;
  std::string text;
  std::vector<TokenId> ids;
};
std::vector<GoldenLine> read_golden_lines();
// A text or ids as such a line has them.
std::string unescaped(std::string_view text);
std::vector<TokenId> parsed_ids(const std::string& text);

// Ids as no encoder writes them: broken characters, control pieces between bytes, leading spaces.
std::vector<TokenId> random_ids(const Tokenizer& tokenizer, std::mt19937& random);

// The message of the TokenizerError that `action` throws; fails the test if it throws none.
std::string refusal_of(const std::function<void()>& action);

}  // namespace ttt::tokenizer
