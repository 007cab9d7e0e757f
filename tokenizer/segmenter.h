// SPDX-License-Identifier: Apache-2.0
// Normalised text -> ids: SentencePiece's segmentation, and the only place that calls the library. Long
// texts are cut where that changes nothing, so that time and memory stay linear.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "tokenizer/model_proto.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace ttt::tokenizer {

class Segmenter {
 public:
  // `model` must outlive the segmenter. Throws TokenizerError, naming `name`, if SentencePiece refuses it.
  Segmenter(const SentencePieceModel& model, std::string_view name);
  ~Segmenter();

  // Appends the ids of `normalized`, valid UTF-8 as Normalizer makes it. Throws TokenizerError for a text
  // with more than kMaxStretchBytes between two places where it can be cut. Any thread.
  void append_ids(std::string_view normalized, std::vector<TokenId>& ids) const;

  // A cut lies between two characters that stand side by side in no piece: no merge and no piece can span
  // it, so both sides segment on their own. SentencePiece takes up to 240 bytes per byte of a stretch, and
  // is twice as fast on stretches that fit the cache; hence 16 KiB where cuts are frequent. (A unigram
  // model sums scores along a stretch in float32: very near ties may fall otherwise than uncut.)
  static constexpr std::size_t kStretchBytes = std::size_t{16} << 10;
  static constexpr std::size_t kMaxStretchBytes = std::size_t{4} << 20;

 private:
  std::size_t find_cut(std::string_view text) const;
  void note_neighbours(std::string_view piece);
  bool neighbours(std::string_view left, std::string_view right) const;

  const SentencePieceModel& model_;
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  std::vector<bool> neighbours_;  // by hash of two characters; a collision only loses a cut
};

}  // namespace ttt::tokenizer
