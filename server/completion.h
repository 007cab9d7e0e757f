// SPDX-License-Identifier: Apache-2.0
// One POST /v1/completions or /v1/chat/completions, from its requests in the engine to the last byte of the
// answer.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "server/answers.h"
#include "server/api_error.h"
#include "server/completion_request.h"
#include "server/http.h"
#include "server/metrics.h"
#include "server/scored_tokens.h"

namespace ttt::server {

// What every completion uses; outlives them all.
struct CompletionContext {
  Engine& engine;
  const ServedModel& model;
  Metrics& metrics;
  std::function<void(std::function<void()>)> post;  // runs a task on a worker thread, soon
  std::chrono::milliseconds ping_time{15'000};      // silence of a stream before a comment fills it
};

class Completion : public std::enable_shared_from_this<Completion> {
 public:
  // Submits everything and answers on `exchange`, whatever happens. Throws ApiError, before anything was
  // answered, if the engine does not take it. `headers` go into the answer's head. `ended` is called when
  // the last token was taken or given up; afterwards the engine knows nothing of it.
  static std::shared_ptr<Completion> start(const CompletionContext& context, CompletionRequest request,
                                           const std::string& request_id,
                                           std::shared_ptr<HttpExchange> exchange,
                                           std::vector<HttpHeader> headers,
                                           std::function<void(const Completion*)> ended);
  ~Completion();

  // Ends it; the client is told so.
  void cancel(const std::string& reason);
  const std::string& id() const { return head_.id; }
  RunningRequest describe() const;
  bool has_ended() const { return has_ended_; }

 private:
  struct Choice {
    std::string text;
    std::vector<ScoredToken> tokens;
    std::vector<TokenId> ids;           // where they are wanted
    std::optional<TokenScorer> scorer;  // where log-probabilities are wanted
    std::optional<Finish> finish;
    std::size_t num_tokens = 0;
    std::chrono::steady_clock::time_point last_token;  // when it was taken
  };

  Completion(const CompletionContext& context, CompletionRequest request, const std::string& request_id,
             std::shared_ptr<HttpExchange> exchange, std::vector<HttpHeader> headers,
             std::function<void(const Completion*)> ended);
  void submit();
  void listen();
  void pump();  // takes what the streams have; on worker threads
  void take(std::size_t prompt, TokenEvent event);
  void take_tokens(const GenerationRequest& request, Choice& choice, const std::vector<TokenInfo>& tokens);
  std::optional<ApiError> fault_of(const Finish& finish, std::chrono::milliseconds time_limit) const;
  bool has_usage() const;
  std::optional<Usage> usage_so_far() const;
  void send(const std::vector<std::string>& chunks);
  void send_first_chunks();
  void send_chunk(std::size_t index, AnsweredChoice choice);
  void answer_whole();
  void fail(const ApiError& error);  // ends it with an error, in the stream where that has begun
  void give_up();                    // the client is gone
  void end();
  std::string prompt_text(std::size_t prompt) const;
  std::optional<std::vector<TokenId>> prompt_ids(std::size_t prompt) const;
  std::size_t prompt_tokens_read(std::size_t prompt) const;
  Usage usage() const;
  AnswerTimings timings() const;
  std::vector<HttpHeader> headers() const;

  const CompletionContext& context_;
  const CompletionRequest request_;
  const std::string request_id_;
  const std::shared_ptr<HttpExchange> exchange_;
  const std::vector<HttpHeader> headers_;
  const std::function<void(const Completion*)> ended_;
  const std::chrono::steady_clock::time_point started_;
  AnswerHead head_;

  std::atomic<bool> pump_posted_ = false;
  std::atomic<bool> has_ended_ = false;                // `ended` was called, or is about to be
  std::vector<std::shared_ptr<TokenStream>> streams_;  // one for each prompt; constant after submit()
  mutable std::mutex mutex_;                           // guards what follows
  std::vector<std::vector<Choice>> choices_;           // [prompt][choice]
  bool is_over_ = false;
};

}  // namespace ttt::server
