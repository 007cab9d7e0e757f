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
void add_top(ScoredToken& token, TopToken top, TokenId id) {
  const auto has_text = [&](const TopToken& other) { return other.text == top.text; };
  if (std::ranges::any_of(token.top, has_text)) top.text = fmt::format("token_id:{}", id);
  token.top.push_back(std::move(top));
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

TopToken TokenScorer::name(TokenId id, float log_prob) const {
  TopToken named{.text = fmt::format("token_id:{}", id), .bytes = {}, .log_prob = log_prob};
  if (!has_text(id)) return named;
  const tokenizer::Piece& piece = tokenizer_->piece(id);
  const bool is_control = piece.kind == tokenizer::PieceKind::kControl;
  if (as_ids_ && is_control) return named;
  tokenizer::TextDecoder decoder = *decoder_;
  std::string text;
  decoder.finish(text);  // what is unfinished before it is not the token's
  text.clear();
  decoder.push(id, text);
  if (!is_control) named.bytes = text;
  if (piece.kind == tokenizer::PieceKind::kByte && text.size() != 1) {
    // "<0xE2>"
    const std::string digits = piece.text.substr(3, 2);
    named.bytes = std::string(1, static_cast<char>(std::stoi(digits, nullptr, 16)));
    text = fmt::format("bytes:\\x{:c}{:c}", std::tolower(digits[0]), std::tolower(digits[1]));
  }
  if (!as_ids_) named.text = is_control ? piece.text : text;
  return named;
}

ScoredToken TokenScorer::next(const TokenInfo& token) {
  ScoredToken scored;
  scored.id = token.id;
  TopToken named = name(token.id, token.log_prob ? finite(*token.log_prob) : 0.0F);
  if (token.log_prob) {
    scored.log_prob = named.log_prob;
    for (const TokenLogProb& top : token.top) add_top(scored, name(top.id, finite(top.log_prob)), top.id);
    scored.num_best = scored.top.size();
    const auto is_chosen = [&](const TokenLogProb& top) { return top.id == token.id; };
    if (std::ranges::none_of(token.top, is_chosen)) add_top(scored, named, token.id);
  }
  scored.text = std::move(named.text);
  scored.bytes = std::move(named.bytes);
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
