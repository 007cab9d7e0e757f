// SPDX-License-Identifier: Apache-2.0
// Finds which of a fixed set of pieces a text begins with, the longest first. For the few control and
// user-defined pieces; segmentation into normal pieces is SentencePiece's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace ttt::tokenizer {

class PieceMatcher {
 public:
  // `pieces`: not empty, no two equal.
  explicit PieceMatcher(std::vector<std::string_view> pieces);
  // Bytes of the longest piece that `text` begins with; 0 if with none.
  std::size_t longest_prefix(std::string_view text) const;

 private:
  // A prefix tree; a node's children lie side by side, in the order of their bytes.
  struct Node {
    std::uint32_t first_child = 0;
    std::uint32_t last_child = 0;  // one past
    unsigned char byte = 0;        // on the edge that leads here
    bool is_piece = false;
  };
  std::vector<Node> nodes_;  // [0]: the root
};

}  // namespace ttt::tokenizer
