// SPDX-License-Identifier: Apache-2.0
// One running request: it says which tokens to read next, takes what the backend sampled, and knows when
// to stop. It drives nothing by itself, so that any number of sessions can share a batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "engine/sampler.h"
#include "tokenizer/text_stream.h"
#include "tokenizer/tokenizer.h"

namespace ttt {

struct GenerationRequest {
  std::vector<TokenId> prompt;    // at least one id
  std::int64_t max_tokens = 256;  // tokens to generate; -1: until eos
  SamplingParams sampling;
  std::vector<std::string> stop_strings;
  std::optional<TokenId> eos_id;  // ends generation; not part of the output
};

enum class FinishReason { kRunning, kLength, kEndOfText, kStopString };

std::string_view to_string(FinishReason reason);  // "length", "stop", ...

class Session {
 public:
  // `tokenizer` turns ids into text and must outlive the session; null: ids only. Ids that it does not have
  // (a model's vocabulary may be padded beyond it) have no text.
  // The slot must have been reset. REQUIRES: a prompt that is not empty.
  Session(GenerationRequest request, SlotId slot, const tokenizer::Tokenizer* tokenizer);

  // The next tokens to read: at most `max_tokens` of the prompt, or the token sampled last.
  // The segment borrows from the session. REQUIRES: reason() == kRunning; max_tokens >= 1.
  Segment next_segment(std::size_t max_tokens);

  // Takes the result of the segment given last; returns text that is certain now.
  std::string accept(const SegmentResult& result);
  // Text held back at the end.
  std::string finish();

  SlotId slot() const { return slot_; }
  FinishReason reason() const { return reason_; }
  std::int64_t position() const { return position_; }  // tokens read into the slot
  std::size_t prompt_tokens() const { return request_.prompt.size(); }
  bool reading_prompt() const { return position_ < static_cast<std::int64_t>(request_.prompt.size()); }
  const std::vector<TokenId>& generated() const { return generated_; }

 private:
  bool has_text(TokenId id) const;

  GenerationRequest request_;
  SlotId slot_;
  const tokenizer::Tokenizer* tokenizer_;
  std::optional<tokenizer::TextStream> text_;
  std::int64_t position_ = 0;
  std::size_t tokens_in_flight_ = 0;
  std::vector<TokenId> generated_;
  FinishReason reason_ = FinishReason::kRunning;
};

}  // namespace ttt
