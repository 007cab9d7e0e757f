// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/charsmap.h"

#include <fmt/format.h>

#include <cstring>

#include "tokenizer/refusal.h"
#include "tokenizer/utf8.h"

namespace ttt::tokenizer {
namespace {

// A unit of a darts-clone double array. Bit 31 marks a leaf, whose other bits are its value. Otherwise:
// bits 0-7 the label on the edge that leads here, bit 8 "a leaf is among the children", bits 10-30 the
// offset to the children, in steps of 256 if bit 9 is set. Child c of unit i is unit (i ^ offset) ^ c,
// and its leaf is child 0.
constexpr std::uint32_t kLeafBit = 1U << 31;

bool is_leaf(std::uint32_t unit) { return (unit & kLeafBit) != 0; }
bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::uint32_t leaf_value(std::uint32_t unit) { return unit & ~kLeafBit; }
std::uint32_t label(std::uint32_t unit) { return unit & (kLeafBit | 0xFFU); }
std::uint32_t children(std::uint32_t index, std::uint32_t unit) {
  return index ^ (unit >> 10 << ((unit & 1U << 9) >> 6));
}

constexpr std::size_t kUnitBytes = 4;
constexpr std::size_t kBlockUnits = 256;  // units come in blocks of this many

}  // namespace

CharsMap::CharsMap(std::string_view blob, std::string_view model) {
  if (blob.empty()) return;
  const auto reject = [&](std::string_view wanted, std::string_view found) {
    refuse({.model = model, .where = "precompiled_charsmap", .wanted = wanted, .found = found});
  };

  if (blob.size() < kUnitBytes) reject("at least 4 bytes", fmt::format("{}", blob.size()));
  std::uint32_t trie_bytes = 0;
  std::memcpy(&trie_bytes, blob.data(), kUnitBytes);
  blob.remove_prefix(kUnitBytes);
  if (trie_bytes == 0 || trie_bytes % (kBlockUnits * kUnitBytes) != 0 || trie_bytes >= blob.size()) {
    reject(fmt::format("a trie of a multiple of 1024 bytes, below {}", blob.size()),
           fmt::format("{} bytes", trie_bytes));
  }
  units_.resize(trie_bytes / kUnitBytes);
  std::memcpy(units_.data(), blob.data(), trie_bytes);
  replacements_ = blob.substr(trie_bytes);
  if (replacements_.back() != '\0' || !is_valid_utf8(replacements_)) {
    reject("replacements in UTF-8 that end in NUL", "others");
  }

  for (std::size_t i = 0; i < units_.size(); ++i) {
    const std::uint32_t unit = units_[i];
    // A lookup takes the root's offset whatever the root is, and never goes on from another leaf.
    if (i != 0 && is_leaf(unit)) continue;
    const std::size_t first_child = children(static_cast<std::uint32_t>(i), unit);
    if ((first_child | (kBlockUnits - 1)) >= units_.size()) {
      reject(fmt::format("children below unit {}", units_.size()),
             fmt::format("unit {} with children from {}", i, first_child));
    }
    if (!has_leaf(unit)) continue;
    const std::uint32_t leaf = units_[first_child];
    const std::size_t value = leaf_value(leaf);
    if (!is_leaf(leaf) || value >= replacements_.size() || is_trail_byte(replacements_[value])) {
      reject(fmt::format("leaves that point to a character among {} bytes", replacements_.size()),
             fmt::format("unit {} with a leaf of {:#x}", i, leaf));
    }
  }
}

std::optional<CharsMap::Rule> CharsMap::longest_rule(std::string_view text) const {
  if (units_.empty()) return std::nullopt;
  std::optional<Rule> longest;
  std::uint32_t first_child = children(0, units_[0]);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::uint32_t byte = static_cast<unsigned char>(text[i]);
    const std::uint32_t index = first_child ^ byte;
    const std::uint32_t unit = units_[index];
    if (label(unit) != byte) break;
    first_child = children(index, unit);
    if (has_leaf(unit)) {
      longest = {i + 1, std::string_view(replacements_.data() + leaf_value(units_[first_child]))};
    }
  }
  return longest;
}

}  // namespace ttt::tokenizer
