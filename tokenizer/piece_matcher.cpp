// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/piece_matcher.h"

#include <algorithm>

namespace ttt::tokenizer {

PieceMatcher::PieceMatcher(std::vector<std::string_view> pieces) {
  std::sort(pieces.begin(), pieces.end());
  // Breadth first. Beside each node: which pieces begin with its `depth` bytes.
  struct Range {
    std::size_t begin, end, depth;
  };
  std::vector<Range> ranges = {{0, pieces.size(), 0}};
  nodes_.emplace_back();
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    auto [begin, end, depth] = ranges[i];
    if (begin < end && pieces[begin].size() == depth) {
      nodes_[i].is_piece = true;
      ++begin;
    }
    nodes_[i].first_child = static_cast<std::uint32_t>(nodes_.size());
    while (begin < end) {
      const char byte = pieces[begin][depth];
      std::size_t group_end = begin + 1;
      while (group_end < end && pieces[group_end][depth] == byte) ++group_end;
      nodes_.push_back({.byte = static_cast<unsigned char>(byte)});
      ranges.push_back({begin, group_end, depth + 1});
      begin = group_end;
    }
    nodes_[i].last_child = static_cast<std::uint32_t>(nodes_.size());
  }
}

std::size_t PieceMatcher::longest_prefix(std::string_view text) const {
  std::size_t longest = 0;
  const Node* node = &nodes_[0];
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const Node* const last = nodes_.data() + node->last_child;
    const auto less = [](const Node& child, unsigned char wanted) { return child.byte < wanted; };
    node = std::lower_bound(nodes_.data() + node->first_child, last, byte, less);
    if (node == last || node->byte != byte) break;
    if (node->is_piece) longest = i + 1;
  }
  return longest;
}

}  // namespace ttt::tokenizer
