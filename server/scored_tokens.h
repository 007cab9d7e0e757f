// SPDX-License-Identifier: Apache-2.0
// Tokens with log-probabilities as the completion API shows them: each with its text and its place in the
// text of the answer.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/session.h"
#include "tokenizer/text_decoder.h"
#include "tokenizer/tokenizer.h"

namespace ttt::server {

struct TopToken {
  std::string text;
  std::optional<std::string>
      bytes;  // what it adds to the text; empty: a control piece, or an id without text
  float log_prob = 0.0F;
};

struct ScoredToken {
  TokenId id = 0;
  std::string text = {};
  std::optional<std::string> bytes = {};  // as in TopToken
  std::size_t offset = 0;                 // in the answer's text, in code points
  std::optional<float> log_prob;
  // The most probable tokens, each text once, best first, and behind them the token itself if it is not among
  // them; empty where log_prob is.
  std::vector<TopToken> top;
  std::size_t num_best = 0;  // of `top`, without what stands behind
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
  TopToken name(TokenId id, float log_prob) const;

  const tokenizer::Tokenizer* tokenizer_;
  bool as_ids_;
  std::optional<tokenizer::TextDecoder> decoder_;  // none without a tokenizer
  std::size_t code_points_ = 0;
};

std::size_t count_code_points(std::string_view text);  // of valid UTF-8

}  // namespace ttt::server
