// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back: the folder's main class. The model's bytes come from strangers and are
// checked before anything uses them. SentencePiece segments; normalising and decoding are ours, to the
// same results.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ttt::tokenizer {

using TokenId = std::int32_t;

class TokenizerError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The kinds and numbers of SentencePiece's model and of GGUF's tokenizer.ggml.token_type.
enum class PieceKind : std::int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct Piece {
  std::string text;  // as in the model: U+2581 for a space
  float score = 0.0F;
  PieceKind kind = PieceKind::kNormal;
};

enum class SpecialTokens {
  // "</s>" in the text is ordinary text: prompts.
  kPlain,
  // Control pieces are recognised first, leftmost and longest; each stretch between them is normalised and
  // segmented on its own: templates. The space before the first word is added only where the text begins
  // with a stretch, never after a control piece: "<s>a" and "a" differ by that space as well. (So does
  // Hugging Face with legacy=False; llama.cpp puts a space after each special piece.)
  kParse,
};

struct SentencePieceModel;  // model_proto.h

class Tokenizer {
 public:
  // `model`: the bytes of a SentencePiece tokenizer.model; copied. `name` stands in messages.
  // Throws TokenizerError. Which models are refused: model_proto.h.
  static Tokenizer from_model(std::string_view model, std::string_view name);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // Never adds bos or eos. Invalid UTF-8 becomes U+FFFD, one per byte, as in SentencePiece itself. Time and
  // memory are linear in the text. Throws TokenizerError for a text beyond kMaxTextBytes, and for a stretch
  // of it that cannot be divided (Segmenter::kMaxStretchBytes). Any thread.
  std::vector<TokenId> encode(std::string_view text, SpecialTokens special = SpecialTokens::kPlain) const;
  // Of text that stands behind other ids: no space before the first word, and no special tokens.
  std::vector<TokenId> encode_continuation(std::string_view text) const;
  static constexpr std::size_t kMaxTextBytes = std::size_t{64} << 20;

  // Whole text of a sequence, as SentencePiece decodes it (no space before the first word). Control pieces
  // have no text. Throws TokenizerError for an id out of range. For streaming use TextStream. Any thread.
  std::string decode(std::span<const TokenId> ids) const;

  std::int32_t vocab_size() const;
  const Piece& piece(TokenId id) const;  // throws TokenizerError for an id out of range
  std::optional<TokenId> find_piece(std::string_view text) const;
  std::optional<TokenId> bos_id() const;
  std::optional<TokenId> eos_id() const;
  TokenId unknown_id() const;
  bool add_space_prefix() const;        // the model puts a space before the first word
  std::string_view model_type() const;  // "bpe" or "unigram"
  const std::string& model_bytes() const;
  const SentencePieceModel& model() const;  // for this folder

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ttt::tokenizer
