// SPDX-License-Identifier: Apache-2.0
// A Hugging Face tokenizer.json of Llama's kind (BPE with byte fallback), translated once into the
// SentencePiece model that it was made from. Parses no JSON: it is told what stands in the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

namespace ttt::tokenizer {

class TokenizerJson {
 public:
  using Scalar = std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, double, std::string>;

  explicit TokenizerJson(std::string_view name);  // the file's, for messages
  ~TokenizerJson();

  // The text's events in order, from a parser that has checked that they nest, and that no object has a key
  // twice. Throw TokenizerError for more than kMaxNodes values.
  void begin_object();
  void begin_array();
  void end();
  void key(std::string name);
  void scalar(Scalar value);
  static constexpr std::size_t kMaxNodes = std::size_t{1} << 21;  // Llama's 32,000 pieces have 220,000

  // A model that Tokenizer::from_model accepts and that gives the same ids, and for ids the same text but
  // where byte pieces make no character (U+FFFD for each such byte; Hugging Face: for each of a run). A
  // piece's score is the negative rank of the first merge that makes it. REQUIRES: the last event was seen.
  // Throws TokenizerError, saying why, for what a SentencePiece model cannot express:
  //  - another model than BPE with byte fallback, dropout, prefixes and suffixes of subwords, ignored merges;
  //  - a normaliser, pre-tokenizer or decoder other than those that write a space as U+2581, with one in
  //    front of every text or of none (Metaspace puts none in front of a text that begins with a space);
  //  - merges that are not all ways to make a piece from two, one after another: SentencePiece knows pieces,
  //    not merges, and joins any two neighbours whose text is a piece;
  //  - added tokens that are not special, or take the spaces around them along.
  std::string sentencepiece_model() const;

 private:
  struct Tree;
  std::string name_;
  std::unique_ptr<Tree> tree_;
};

}  // namespace ttt::tokenizer
