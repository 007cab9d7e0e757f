// SPDX-License-Identifier: Apache-2.0
#include "engine/session.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <utility>

namespace ttt {

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::kRunning:
      return "running";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kEndOfText:
    case FinishReason::kStopString:
      return "stop";
  }
  return "";
}

Session::Session(GenerationRequest request, SlotId slot, const tokenizer::Tokenizer* tokenizer)
    : request_(std::move(request)), slot_(slot), tokenizer_(tokenizer) {
  if (request_.prompt.empty()) throw std::logic_error("Session: the prompt is empty");
  if (tokenizer_ == nullptr) return;
  std::vector<TokenId> prompt;
  std::ranges::copy_if(request_.prompt, std::back_inserter(prompt),
                       [this](TokenId id) { return has_text(id); });
  text_.emplace(*tokenizer_, prompt, request_.stop_strings);
}

bool Session::has_text(TokenId id) const { return id < tokenizer_->vocab_size(); }

Segment Session::next_segment(std::size_t max_tokens) {
  if (reason_ != FinishReason::kRunning) throw std::logic_error("Session: has finished");
  if (max_tokens == 0) throw std::logic_error("Session: room for no token");
  Segment segment;
  segment.slot = slot_;
  segment.position = position_;
  if (reading_prompt()) {
    const std::size_t first = static_cast<std::size_t>(position_);
    segment.tokens =
        std::span(request_.prompt).subspan(first, std::min(max_tokens, request_.prompt.size() - first));
  } else {
    segment.token_from_last_sample = true;
  }
  tokens_in_flight_ = segment.num_tokens();
  const bool ends_prompt = position_ + static_cast<std::int64_t>(tokens_in_flight_) >=
                           static_cast<std::int64_t>(request_.prompt.size());
  if (ends_prompt && request_.max_tokens != 0) segment.wanted.sample = &request_.sampling;
  return segment;
}

std::string Session::accept(const SegmentResult& result) {
  position_ += static_cast<std::int64_t>(std::exchange(tokens_in_flight_, 0));
  if (reading_prompt()) return {};
  if (request_.max_tokens == 0) {
    reason_ = FinishReason::kLength;
    return {};
  }
  const TokenId id = result.sampled.id;
  if (request_.eos_id == id) {
    reason_ = FinishReason::kEndOfText;
    return {};
  }
  generated_.push_back(id);
  std::string text = text_ && has_text(id) ? text_->push(id) : std::string();
  if (text_ && text_->stopped_by()) {
    reason_ = FinishReason::kStopString;
  } else if (request_.max_tokens > 0 && std::cmp_greater_equal(generated_.size(), request_.max_tokens)) {
    reason_ = FinishReason::kLength;
  }
  return text;
}

std::string Session::finish() { return text_ ? text_->finish() : std::string(); }

}  // namespace ttt
