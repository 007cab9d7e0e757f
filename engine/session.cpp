// SPDX-License-Identifier: Apache-2.0
#include "engine/session.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>

namespace ttt {

Session::Session(std::shared_ptr<const GenerationRequest> request, SlotId slot,
                 const tokenizer::Tokenizer* tokenizer)
    : request_(std::move(request)),
      sampling_(request_->sampling),
      slot_(slot),
      tokenizer_(tokenizer),
      counts_(request_->sampling.repeat_last_n) {
  if (request_->prompt.empty()) throw std::logic_error("Session: the prompt is empty");
  sampling_.choice = 0;
  if (request_->start) position_ = request_->start->position;
  if (request_->max_tokens == 0 && !reading_prompt()) reason_ = FinishReason::kLength;  // all is read already
  if (request_->eos_id) ending_ids_.push_back(*request_->eos_id);
  ending_ids_.insert(ending_ids_.end(), request_->stop_ids.begin(), request_->stop_ids.end());
  for (const TokenId id : request_->prompt) counts_.push(id, /*is_output=*/false);
  if (tokenizer_ == nullptr) return;
  std::vector<TokenId> prompt;
  std::ranges::copy_if(request_->prompt, std::back_inserter(prompt),
                       [this](TokenId id) { return has_text(id); });
  text_.emplace(*tokenizer_, prompt, request_->stop_strings);
}

Session::Session(std::shared_ptr<const GenerationRequest> request, SlotId slot,
                 const tokenizer::Tokenizer* tokenizer, std::uint32_t choice, const SessionRecord& record)
    : Session(std::move(request), slot, tokenizer) {
  // The token drawn last is not read yet.
  const auto prompt_size = static_cast<std::int64_t>(prompt_tokens());
  const auto num_generated = static_cast<std::int64_t>(record.generated.size());
  const bool in_prompt = record.generated.empty() && record.position >= 0 && record.position < prompt_size;
  const bool decoding = num_generated > 0 && record.position == prompt_size + num_generated - 1;
  if (std::ranges::any_of(record.generated, [](TokenId id) { return id < 0; })) {
    throw std::invalid_argument("a session's record does not fit its request: an id below 0");
  }
  if (!in_prompt && !decoding) {
    throw std::invalid_argument("a session's record does not fit its request: wrong number of tokens");
  }
  sampling_.choice = choice;
  position_ = record.position;
  total_log_prob_ = record.total_log_prob;
  num_drawn_ = record.generated.size();
  std::string given_out_before;
  for (const TokenId id : record.generated) {
    if (!ends_at(id)) append(id, given_out_before);
    if (reason_ != FinishReason::kRunning) {
      throw std::invalid_argument("a session's record does not fit its request: it has ended");
    }
  }
}

Session Session::fork(SlotId slot, std::uint32_t choice) const {
  if (!generated_.empty() || in_flight_.num_tokens() > 0) {
    throw std::logic_error("Session: forks only while it reads its prompt");
  }
  Session copy = *this;
  copy.slot_ = slot;
  copy.sampling_.choice = choice;
  return copy;
}

bool Session::has_text(TokenId id) const { return id < tokenizer_->vocab_size(); }

std::span<const TokenId> Session::continuation() const {
  if (request_->continuations.empty()) return {};
  return request_->continuations[sampling_.choice];
}

TokenId Session::given_token(std::size_t position) const {
  const std::size_t size = request_->prompt.size();
  return position < size ? request_->prompt[position] : continuation()[position - size];
}

bool Session::scores(std::size_t position) const {
  return request_->prompt_log_probs ||
         (!request_->continuations.empty() && position >= request_->prompt.size());
}

std::size_t Session::prompt_tokens_left() const {
  const auto read = static_cast<std::size_t>(position_);
  const std::size_t to_read = num_tokens_to_read(*request_, prompt_tokens());
  return read < to_read ? to_read - read : 0;
}

std::optional<std::string> Session::stop_string() const {
  if (reason_ != FinishReason::kStopString) return std::nullopt;
  return request_->stop_strings[*text_->stopped_by()];
}

double Session::mean_log_prob() const {
  return num_drawn_ == 0 ? -std::numeric_limits<double>::infinity()
                         : total_log_prob_ / static_cast<double>(num_drawn_);
}

Segment Session::next_segment(std::size_t max_tokens) {
  if (reason_ != FinishReason::kRunning) throw std::logic_error("Session: has finished");
  if (max_tokens == 0) throw std::logic_error("Session: room for no token");
  Segment segment;
  segment.slot = slot_;
  segment.position = position_;
  if (reading_prompt()) {
    const auto read = static_cast<std::size_t>(position_);
    const std::span<const TokenId> prompt = request_->prompt;
    const auto given =
        read < prompt.size() ? prompt.subspan(read) : continuation().subspan(read - prompt.size());
    segment.tokens = given.first(std::min({max_tokens, given.size(), prompt_tokens_left()}));
  } else if (sampled_in_slot_) {
    segment.token_from_last_sample = true;
  } else {
    segment.tokens = std::span(generated_).last(1);
  }
  want(segment);
  in_flight_ = segment;
  return segment;
}

void Session::want(Segment& segment) {
  const auto first = static_cast<std::size_t>(segment.position);
  const std::size_t end = first + segment.num_tokens();
  Wanted& wanted = segment.wanted;
  const bool samples = end >= prompt_tokens() && request_->max_tokens != 0;
  if (samples) {
    wanted.sample = &sampling_;
    wanted.counts = counts_.counts();
    if (std::cmp_less(generated_.size(), request_->min_tokens)) wanted.banned = ending_ids_;
  }
  if (!request_->top_log_probs) return;
  wanted.top_n = static_cast<std::size_t>(*request_->top_log_probs);
  if (first < prompt_tokens() && scores(end)) {
    // Row i predicts prompt token first + i + 1. The row of the last one predicts no token of the prompt.
    wanted.log_probs = Rows::kAll;
    wanted.targets_per_row = 1;
    targets_.assign(segment.num_tokens(), 0);
    for (std::size_t i = 0; i < targets_.size() && first + i + 1 < prompt_tokens(); ++i) {
      targets_[i] = given_token(first + i + 1);
    }
    wanted.targets = targets_;
  } else if (samples && wanted.top_n > 0) {
    wanted.log_probs = Rows::kLast;
  }
  if (wanted.log_probs == Rows::kNone) wanted.top_n = 0;
}

SessionStep Session::accept(const SegmentResult& result) {
  SessionStep step;
  take_prompt_log_probs(result, step);
  const Segment segment = std::exchange(in_flight_, Segment());
  position_ += static_cast<std::int64_t>(segment.num_tokens());
  if (reading_prompt()) return step;
  if (request_->max_tokens == 0) {
    reason_ = FinishReason::kLength;
    return step;
  }
  const TokenId id = result.sampled.id;
  sampled_in_slot_ = true;
  total_log_prob_ += static_cast<double>(result.sampled.log_prob);
  ++num_drawn_;
  step.token = info_of(result.sampled, result.top.last(std::min(result.top.size(), segment.wanted.top_n)));
  if (!ends_at(id)) append(id, step.text);
  return step;
}

TokenInfo Session::info_of(TokenLogProb token, std::span<const TokenLogProb> top) const {
  TokenInfo info;
  info.id = token.id;
  if (request_->top_log_probs) {
    info.log_prob = token.log_prob;
    info.top.assign(top.begin(), top.end());
  }
  return info;
}

void Session::take_prompt_log_probs(const SegmentResult& result, SessionStep& step) const {
  const auto first = static_cast<std::size_t>(position_);
  if (first >= prompt_tokens()) return;
  if (first == 0 && scores(0)) step.prompt_tokens.push_back({request_->prompt[0], std::nullopt, {}});
  const std::size_t top_n = in_flight_.wanted.top_n;
  for (std::size_t i = 0; i < in_flight_.num_tokens() && first + i + 1 < prompt_tokens(); ++i) {
    if (!scores(first + i + 1)) continue;
    step.prompt_tokens.push_back(info_of({given_token(first + i + 1), result.target_log_probs[i]},
                                         result.top.subspan(i * top_n, top_n)));
  }
}

bool Session::ends_at(TokenId id) {
  if (request_->eos_id == id) {
    reason_ = FinishReason::kEndOfText;
  } else if (std::ranges::find(request_->stop_ids, id) != request_->stop_ids.end()) {
    stop_id_ = id;
    reason_ = FinishReason::kStopId;
  }
  return reason_ != FinishReason::kRunning;
}

void Session::append(TokenId id, std::string& text) {
  generated_.push_back(id);
  counts_.push(id, /*is_output=*/true);
  if (text_ && has_text(id)) text += text_->push(id);
  if (text_ && text_->stopped_by()) {
    reason_ = FinishReason::kStopString;
  } else if (request_->max_tokens > 0 && std::cmp_greater_equal(generated_.size(), request_->max_tokens)) {
    reason_ = FinishReason::kLength;
  }
}

std::string Session::finish() {
  if (!text_) return {};
  std::string text = text_->finish();
  const bool ended_by_itself = reason_ == FinishReason::kLength || reason_ == FinishReason::kEndOfText ||
                               reason_ == FinishReason::kStopId;
  if (ended_by_itself && text_->stopped_by()) reason_ = FinishReason::kStopString;
  return text;
}

}  // namespace ttt
