// SPDX-License-Identifier: Apache-2.0
// What comes out of the engine for one request, and the way to cancel it. One thread writes (the engine's),
// one reads; both may come and go.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/request.h"
#include "engine/sequence_state.h"
#include "engine/session.h"

namespace ttt {

// Where the time of a request went, in seconds.
struct RequestTimes {
  double queued = 0.0;   // from submission to admission
  double prefill = 0.0;  // from there to the first token drawn, or to the end of a prompt that is only read
  double decode = 0.0;   // from there to the end
  std::size_t decode_steps = 0;  // of this choice, in that time
};

// How a choice ended.
struct Finish {
  FinishReason reason = FinishReason::kRunning;
  std::optional<std::string> stop_string;  // with kStopString: the one that was met
  std::optional<TokenId> stop_id;          // with kStopId: the one that was drawn
  bool ended_by_token = false;             // the last one drawn ended the text and is no part of it
  std::string error;                       // with kFailed: a sentence
  bool device_lost = false;                // with kFailed: the engine will run nothing more
  double mean_log_prob = 0.0;              // of the tokens drawn
  std::size_t discarded_tokens = 0;  // with best_of, of choice 0: drawn for those that were not the best
  RequestTimes times;
  // With keep_state, unless it failed or never began: what was learned from the first tokens of the prompt
  // and the output. Those behind state->position are not read: one as a rule, none behind a token that ended
  // the text, the rest of a prompt that was broken off.
  std::shared_ptr<const SequenceState> state;
};

struct TokenEvent {
  std::size_t choice = 0;  // 0 ... num_choices - 1
  // In order: with prompt_log_probs the prompt's, as part of choice 0; with continuations the choice's own.
  std::vector<TokenInfo> prompt_tokens;
  std::vector<TokenInfo> tokens;  // drawn since the last event, one that ends the text included
  std::string text;               // certain since the last event
  std::optional<Finish> finish;   // set in the last event of a choice
};

class TokenStream {
 public:
  explicit TokenStream(const GenerationRequest& request)
      : num_choices_(static_cast<std::size_t>(request.num_choices)), prompt_size_(request.prompt.size()) {}

  // Reader's side.

  // The next event, if there is one. Never waits.
  std::optional<TokenEvent> try_pop();
  // Waits for one until `deadline`. Uses the wake callback; the reader has either a callback or this.
  std::optional<TokenEvent> pop_until(std::chrono::steady_clock::time_point deadline);
  // `wake` is called from the engine's thread after each event, and at once if events wait now (once for all
  // of them); it must return soon, not throw, and call nothing of this stream but try_pop. Null ends that:
  // afterwards no call is running.
  void set_wake(std::function<void()> wake);
  // True after the last event of the last choice was popped, or where memory ran out for an event: then the
  // choices without a Finish have none.
  bool exhausted() const;
  // Ends the request before the engine's next step: every choice that is still running finishes with
  // kCancelled.
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  // Tokens of the prompt that were read so far: progress.
  std::size_t prompt_tokens_read() const { return prompt_tokens_read_.load(std::memory_order_relaxed); }
  std::size_t prompt_tokens() const { return prompt_size_; }

  // Writer's side.

  // Never throws: where there is no memory, the stream is broken off.
  void push(TokenEvent event) noexcept;
  void break_off() noexcept;  // cancels it, and no more events come
  void set_prompt_tokens_read(std::size_t count) {
    prompt_tokens_read_.store(count, std::memory_order_relaxed);
  }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

 private:
  const std::size_t num_choices_;
  const std::size_t prompt_size_;
  std::atomic<bool> cancelled_{false};
  std::atomic<std::size_t> prompt_tokens_read_{0};
  mutable std::mutex mutex_;  // guards what follows
  std::deque<TokenEvent> events_;
  std::size_t num_finished_ = 0;  // choices whose last event was popped
  bool broken_off_ = false;
  std::mutex wake_mutex_;  // guards wake_; held during its call
  std::function<void()> wake_;
};

}  // namespace ttt
