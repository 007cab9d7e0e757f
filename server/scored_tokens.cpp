// SPDX-License-Identifier: Apache-2.0
#include "server/scored_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace ttt::server {
namespace {

float finite(float log_prob) { return std::isfinite(log_prob) ? log_prob : kNeverLogProb; }

// Two tokens may have one text (a byte and its character): the likelier keeps it.
void add_top(ScoredToken& token, std::string text, TokenId id, float log_prob) {
  const auto has = [&](const std::string& name) {
    return std::ranges::any_of(token.top, [&](const auto& entry) { return entry.first == name; });
  };
  if (has(text)) text = fmt::format("token_id:{}", id);
  token.top.emplace_back(std::move(text), log_prob);
}

}  // namespace

std::size_t count_code_points(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

TokenScorer::TokenScorer(const tokenizer::Tokenizer* tokenizer, std::span<const TokenId> prompt, bool as_ids)
    : tokenizer_(tokenizer), as_ids_(as_ids) {
  if (tokenizer_ == nullptr) return;
  decoder_.emplace(*tokenizer_);
  for (const TokenId id : prompt) advance(id);
  code_points_ = 0;
}

bool TokenScorer::has_text(TokenId id) const {
  return tokenizer_ != nullptr && id >= 0 && id < tokenizer_->vocab_size();
}

void TokenScorer::advance(TokenId id) {
  if (!has_text(id)) return;
  std::string text;
  decoder_->push(id, text);
  code_points_ += count_code_points(text);
}

std::string TokenScorer::name(TokenId id) const {
  if (as_ids_ || !has_text(id)) return fmt::format("token_id:{}", id);
  const tokenizer::Piece& piece = tokenizer_->piece(id);
  tokenizer::TextDecoder decoder = *decoder_;
  std::string text;
  decoder.finish(text);  // what is unfinished before it is not the token's
  text.clear();
  decoder.push(id, text);
  const bool is_ascii = text.size() == 1;
  if (piece.kind == tokenizer::PieceKind::kByte && !is_ascii) {
    // "<0xE2>"
    return fmt::format("bytes:\\x{:c}{:c}", std::tolower(piece.text[3]), std::tolower(piece.text[4]));
  }
  return piece.kind == tokenizer::PieceKind::kControl ? piece.text : text;
}

ScoredToken TokenScorer::next(const TokenInfo& token) {
  ScoredToken scored;
  scored.text = name(token.id);
  if (token.log_prob) {
    scored.log_prob = finite(*token.log_prob);
    for (const TokenLogProb& top : token.top) add_top(scored, name(top.id), top.id, finite(top.log_prob));
    const auto is_chosen = [&](const TokenLogProb& top) { return top.id == token.id; };
    if (std::ranges::none_of(token.top, is_chosen)) {
      add_top(scored, scored.text, token.id, *scored.log_prob);
    }
  }
  if (has_text(token.id) && tokenizer_->piece(token.id).kind != tokenizer::PieceKind::kByte) {
    std::string unfinished;  // comes before the token
    decoder_->finish(unfinished);
    code_points_ += count_code_points(unfinished);
  }
  scored.offset = code_points_;
  advance(token.id);
  return scored;
}

}  // namespace ttt::server
