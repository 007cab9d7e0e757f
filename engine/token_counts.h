// SPDX-License-Identifier: Apache-2.0
// What a sequence has said so far, as far as penalties need it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace ttt {

using tokenizer::TokenId;

struct TokenCount {
  TokenId id = 0;
  std::uint32_t in_window = 0;  // among the last repeat_last_n tokens of prompt and output
  std::uint32_t in_output = 0;  // in all of the output
};

// A copy goes on by itself, as a forked sequence does. Memory: 4 bytes per id up to the largest seen and
// per token of the window.
class TokenCounts {
 public:
  // repeat_last_n as in SamplingParams.
  explicit TokenCounts(std::int32_t repeat_last_n);

  // The next token of the sequence; O(1), amortised. Throws std::logic_error for an id below 0.
  void push(TokenId id, bool is_output);

  // The ids with a count that is not 0, each once, in no order. Lives until the next push().
  std::span<const TokenCount> counts() const { return counts_; }

 private:
  TokenCount& entry(TokenId id);
  void leave_window(TokenId id);

  std::int32_t repeat_last_n_;
  std::vector<std::uint32_t> places_;  // [largest id + 1] index into counts_ + 1; 0: none
  std::vector<TokenCount> counts_;
  std::vector<TokenId> window_;  // a ring, once it holds repeat_last_n tokens; unused where that is -1
  std::size_t oldest_ = 0;
};

}  // namespace ttt
