// SPDX-License-Identifier: Apache-2.0
// One running sequence: one continuation of a request's prompt. It owns the token history and the text
// stream, says which tokens to read next, takes what the backend computed, and knows when to stop. It drives
// nothing by itself, so that any number of sessions can share a batch (engine/scheduler.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "engine/request.h"
#include "engine/token_counts.h"
#include "tokenizer/text_stream.h"
#include "tokenizer/tokenizer.h"

namespace ttt {

// A token of the prompt or of the output.
struct TokenInfo {
  TokenId id = 0;
  std::optional<float> log_prob;  // under the unmodified softmax; a sequence's first token has none
  std::vector<TokenLogProb> top;  // best first, as many as were asked for

  friend bool operator==(const TokenInfo&, const TokenInfo&) = default;
};

// What one step brought.
struct SessionStep {
  // With prompt_log_probs, or of a given continuation: those whose log-probability is known now.
  std::vector<TokenInfo> prompt_tokens;
  std::optional<TokenInfo> token;  // the token drawn, one that ends the text included
  std::string text;                // what is certain now
};

// What cannot be told from the request, of a session at rest. With the slot's state (Backend::save at
// `position`) it is all that continues a sequence, in another process too.
struct SessionRecord {
  std::int64_t position = 0;  // tokens read into the slot
  std::vector<TokenId> generated;
  double total_log_prob = 0.0;

  friend bool operator==(const SessionRecord&, const SessionRecord&) = default;
};

class Session {
 public:
  // `tokenizer` turns ids into text and must outlive the session; null: ids only. Ids that it does not have
  // (a model's vocabulary may be padded beyond it) have no text.
  // The slot must have been reset, or hold the state that the request starts with. REQUIRES: a request that
  // check_request accepts.
  Session(std::shared_ptr<const GenerationRequest> request, SlotId slot,
          const tokenizer::Tokenizer* tokenizer);
  // Goes on where `record` was taken from a session of the same request and choice: the same tokens and the
  // same text follow. The slot must hold the state at record.position. Throws std::invalid_argument for a
  // record that no session of this request has. REQUIRES: ids that the model has.
  Session(std::shared_ptr<const GenerationRequest> request, SlotId slot,
          const tokenizer::Tokenizer* tokenizer, std::uint32_t choice, const SessionRecord& record);

  // Another continuation from here. `slot` must be a copy of this session's slot.
  // REQUIRES: nothing generated, no segment in flight.
  Session fork(SlotId slot, std::uint32_t choice) const;

  // The next tokens to read: at most `max_tokens` of the prompt, or the token sampled last.
  // The segment borrows from the session. REQUIRES: reason() == kRunning; max_tokens >= 1.
  Segment next_segment(std::size_t max_tokens);
  // Takes the result of the segment given last.
  SessionStep accept(const SegmentResult& result);
  // Ends it from outside, or gives the reason of its own. REQUIRES: no segment in flight.
  void end(FinishReason reason) { reason_ = reason; }
  // Text held back at the end. It may complete a stop string, which is the reason then.
  std::string finish();

  SlotId slot() const { return slot_; }
  std::uint32_t choice() const { return sampling_.choice; }
  FinishReason reason() const { return reason_; }
  std::optional<std::string> stop_string() const;              // the one that was met
  std::optional<TokenId> stop_id() const { return stop_id_; }  // the one of stop_ids that was drawn
  std::int64_t position() const { return position_; }          // tokens read into the slot
  std::size_t prompt_tokens() const { return request_->prompt.size() + continuation().size(); }  // all given
  // 0 when it decodes. REQUIRES: no segment in flight.
  std::size_t prompt_tokens_left() const;
  bool reading_prompt() const { return prompt_tokens_left() > 0; }
  const std::vector<TokenId>& generated() const { return generated_; }
  // Whether the last token drawn is none of them, as it ended the text.
  bool ended_by_token() const { return num_drawn_ > generated_.size(); }
  // Of the tokens drawn, one that ended the text included; -infinity where none was drawn.
  double mean_log_prob() const;
  SessionRecord record() const { return {position_, generated_, total_log_prob_}; }

 private:
  bool has_text(TokenId id) const;
  std::span<const TokenId> continuation() const;  // the given one of this choice
  TokenId given_token(std::size_t position) const;
  bool scores(std::size_t position) const;  // the token there is told with its log-probability
  void want(Segment& segment);
  void take_prompt_log_probs(const SegmentResult& result, SessionStep& step) const;
  TokenInfo info_of(TokenLogProb token, std::span<const TokenLogProb> top) const;
  bool ends_at(TokenId id);                    // sets the reason
  void append(TokenId id, std::string& text);  // and the reason, where that ends the session

  std::shared_ptr<const GenerationRequest> request_;
  SamplingParams sampling_;  // the request's, with this choice
  SlotId slot_;
  const tokenizer::Tokenizer* tokenizer_;
  std::optional<tokenizer::TextStream> text_;
  TokenCounts counts_;
  std::vector<TokenId> ending_ids_;  // eos and stop ids
  std::int64_t position_ = 0;
  Segment in_flight_;             // no tokens: none
  std::vector<TokenId> targets_;  // of the segment in flight
  bool sampled_in_slot_ = false;  // the backend knows the last token
  std::vector<TokenId> generated_;
  double total_log_prob_ = 0.0;
  std::size_t num_drawn_ = 0;
  std::optional<TokenId> stop_id_;
  FinishReason reason_ = FinishReason::kRunning;
};

}  // namespace ttt
