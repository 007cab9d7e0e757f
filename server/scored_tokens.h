// SPDX-License-Identifier: Apache-2.0
// Tokens with log-probabilities as the completion API shows them: each with its text and its place in the
// text of the answer.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/session.h"
#include "tokenizer/text_decoder.h"
#include "tokenizer/tokenizer.h"

namespace ttt::server {

struct ScoredToken {
  std::string text;
  std::size_t offset = 0;  // in the answer's text, in code points
  std::optional<float> log_prob;
  // The most probable tokens and the token itself, each text once, best first; empty where log_prob is.
  std::vector<std::pair<std::string, float>> top;
};

// -infinity, which JSON has not, is written so.
inline constexpr float kNeverLogProb = -9999.0F;

// Names the tokens of one choice, in order. A token's text is what it adds to the text; "bytes:\xe2" for a
// byte that is no character alone, the piece's own name for a control piece ("</s>"), "token_id:7" for an id
// that the tokenizer has not, or for every id with `as_ids`.
class TokenScorer {
 public:
  // `prompt`: the ids before the first token that is scored. The tokenizer, which may be null, must outlive
  // the scorer.
  TokenScorer(const tokenizer::Tokenizer* tokenizer, std::span<const TokenId> prompt, bool as_ids);

  ScoredToken next(const TokenInfo& token);

 private:
  void advance(TokenId id);
  bool has_text(TokenId id) const;
  std::string name(TokenId id) const;

  const tokenizer::Tokenizer* tokenizer_;
  bool as_ids_;
  std::optional<tokenizer::TextDecoder> decoder_;  // none without a tokenizer
  std::size_t code_points_ = 0;
};

std::size_t count_code_points(std::string_view text);  // of valid UTF-8

}  // namespace ttt::server
