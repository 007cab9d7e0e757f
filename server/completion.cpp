// SPDX-License-Identifier: Apache-2.0
#include "server/completion.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <utility>

#include "engine/request_error.h"
#include "server/api_error.h"
#include "tokenizer/text_stream.h"

namespace ttt::server {
namespace {

constexpr std::string_view kDone = "data: [DONE]\n\n";
constexpr std::string_view kPing = ": ping\n\n";

std::string event(const std::string& json) { return fmt::format("data: {}\n\n", json); }

std::string new_id(AnswerShape shape) {
  static constexpr std::string_view kLetters =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  thread_local std::mt19937_64 generator{std::random_device{}()};
  std::string id(id_prefix(shape));
  for (int i = 0; i < 22; ++i) id += kLetters[generator() % kLetters.size()];
  return id;
}

std::int64_t unix_time() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

ApiError queue_full() {
  return ApiError(429, "queue_full", "too many requests wait already; try again in a second");
}

ApiError time_is_over(std::chrono::milliseconds limit) {
  return ApiError(503, "time_limit",
                  fmt::format("this request had no answer within the {} s that the server gives it "
                              "(--request-timeout); try again when it has less to do, or ask for less",
                              static_cast<double>(limit.count()) / 1e3));
}

}  // namespace

Completion::Completion(const CompletionContext& context, CompletionRequest request,
                       const std::string& request_id, std::shared_ptr<HttpExchange> exchange,
                       std::vector<HttpHeader> headers, std::function<void(const Completion*)> ended)
    : context_(context),
      request_(std::move(request)),
      request_id_(request_id),
      exchange_(std::move(exchange)),
      headers_(std::move(headers)),
      ended_(std::move(ended)),
      started_(std::chrono::steady_clock::now()) {
  head_ = {request_.shape, new_id(request_.shape), unix_time(), request_.model, context_.model.fingerprint};
  for (const GenerationRequest& prompt : request_.prompts) {
    std::vector<Choice>& choices = choices_.emplace_back(static_cast<std::size_t>(prompt.num_choices));
    if (!prompt.top_log_probs) continue;
    const std::span<const TokenId> before =
        request_.echo ? std::span<const TokenId>() : std::span<const TokenId>(prompt.prompt);
    for (Choice& choice : choices)
      choice.scorer.emplace(context_.model.tokenizer, before, request_.tokens_as_ids);
  }
}

Completion::~Completion() {
  for (const auto& stream : streams_) stream->cancel();
}

std::shared_ptr<Completion> Completion::start(const CompletionContext& context, CompletionRequest request,
                                              const std::string& request_id,
                                              std::shared_ptr<HttpExchange> exchange,
                                              std::vector<HttpHeader> headers,
                                              std::function<void(const Completion*)> ended) {
  const std::shared_ptr<Completion> completion(new Completion(
      context, std::move(request), request_id, std::move(exchange), std::move(headers), std::move(ended)));
  completion->submit();
  completion->listen();
  return completion;
}

void Completion::submit() {
  try {
    streams_ = context_.engine.submit(request_.prompts);
  } catch (const RequestError& error) {
    throw ApiError(400, "invalid_value", error.what(), error.parameter);
  } catch (const DeviceLost& error) {
    throw device_lost(error.what());
  }
  if (streams_.empty()) throw queue_full();
}

void Completion::listen() {
  if (request_.stream) {
    HttpResponse head;
    head.headers = headers();
    head.headers.push_back({"Content-Type", "text/event-stream; charset=utf-8"});
    head.headers.push_back({"Cache-Control", "no-cache"});
    head.headers.push_back({"X-Accel-Buffering", "no"});
    exchange_->begin(std::move(head), std::string(kPing), context_.ping_time);
    const std::lock_guard lock(mutex_);
    send_first_chunks();
    if (request_.echo) {
      for (std::size_t p = 0; p < streams_.size(); ++p) {
        if (request_.prompts[p].prompt_log_probs) continue;  // comes with the prompt's tokens
        const std::string text = prompt_text(p);
        for (std::size_t c = 0; c < request_.num_choices() && !is_over_; ++c) {
          send_chunk(p * request_.num_choices() + c, {.text = text});
        }
      }
    }
  }
  // Each callback keeps this alive until the last event was taken, see end().
  const auto self = shared_from_this();
  exchange_->on_gone([weak = weak_from_this()] {
    if (const auto completion = weak.lock()) {
      completion->context_.post([completion] {
        const std::lock_guard lock(completion->mutex_);
        completion->give_up();
      });
    }
  });
  for (const auto& stream : streams_) {
    stream->set_wake([self] {
      if (!self->pump_posted_.exchange(true)) self->context_.post([self] { self->pump(); });
    });
  }
  // Where it is over already, end() may have dropped the callbacks before they were there.
  const std::lock_guard lock(mutex_);
  if (!is_over_) return;
  for (const auto& stream : streams_) stream->set_wake(nullptr);
}

void Completion::pump() {
  pump_posted_ = false;
  const std::lock_guard lock(mutex_);
  if (is_over_) return;
  try {
    bool exhausted = true;
    for (std::size_t p = 0; p < streams_.size(); ++p) {
      while (auto event = streams_[p]->try_pop()) {
        take(p, std::move(*event));
        if (is_over_) return;
      }
      exhausted = exhausted && streams_[p]->exhausted();
    }
    if (!exhausted) return;
    const auto has_ended = [](const Choice& choice) { return choice.finish.has_value(); };
    for (const auto& choices : choices_) {
      if (!std::ranges::all_of(choices, has_ended)) throw std::bad_alloc();  // a stream was broken off
    }
    if (request_.stream) {
      if (request_.include_usage) send({usage_chunk_json(head_, usage())});
      exchange_->write(std::string(kDone));
      exchange_->finish();
    } else {
      answer_whole();
    }
    end();
  } catch (const std::exception&) {
    fail(ApiError(500, "internal_error", "the server failed in this request"));
  }
}

void Completion::take(std::size_t prompt, TokenEvent event) {
  Choice& choice = choices_[prompt][event.choice];
  const std::size_t index = prompt * request_.num_choices() + event.choice;
  if (!event.prompt_tokens.empty()) {
    // Those of the prompt come with choice 0 and are every choice's; its text comes with the last of them.
    const bool is_own = request_.shape == AnswerShape::kScore;
    for (Choice& each : choices_[prompt]) {
      if (!each.scorer || (is_own && &each != &choice)) continue;
      for (const TokenInfo& token : event.prompt_tokens) each.tokens.push_back(each.scorer->next(token));
    }
  }
  if (!event.tokens.empty()) take_tokens(request_.prompts[prompt], choice, event.tokens);
  choice.text += event.text;
  // Without a tokenizer a chunk says at least that there is another token.
  const bool tells_tokens = choice.scorer || request_.token_ids || context_.model.tokenizer == nullptr;
  const bool has_news = !event.text.empty() || event.finish || (tells_tokens && !event.tokens.empty());
  if (event.finish) {
    choice.finish = std::move(event.finish);
    context_.metrics.tokens_generated(choice.finish->discarded_tokens);
    context_.metrics.choice_finished(*choice.finish, request_.prompts[prompt].prompt.size(),
                                     choice.num_tokens, event.choice == 0);
    if (event.choice == 0) {
      context_.metrics.prompt_tokens_read(prompt_tokens_read(prompt) -
                                          num_cached_tokens(request_.prompts[prompt]));
    }
    if (const auto fault = fault_of(*choice.finish, request_.prompts[prompt].time_limit)) return fail(*fault);
  }
  if (!request_.stream || !has_news) return;
  AnsweredChoice answered{.index = index, .text = std::exchange(choice.text, {}), .finish = choice.finish};
  if (choice.scorer) answered.log_probs = std::exchange(choice.tokens, {});
  if (request_.token_ids) answered.token_ids = std::exchange(choice.ids, {});
  const bool is_first = choice.num_tokens <= event.tokens.size();
  if (request_.echo && choice.scorer && is_first) answered.text = prompt_text(prompt) + answered.text;
  if (request_.shape == AnswerShape::kText && is_first) answered.prompt_ids = prompt_ids(prompt);
  send_chunk(index, std::move(answered));
}

void Completion::take_tokens(const GenerationRequest& request, Choice& choice,
                             const std::vector<TokenInfo>& tokens) {
  const auto now = std::chrono::steady_clock::now();
  // Candidates come all at once, after the last of them.
  const bool as_drawn = request.best_of <= request.num_choices;
  if (as_drawn && choice.num_tokens > 0) {
    context_.metrics.tokens_followed(std::chrono::duration<double>(now - choice.last_token).count(),
                                     tokens.size());
  }
  choice.last_token = now;
  choice.num_tokens += tokens.size();
  context_.metrics.tokens_generated(tokens.size());
  for (const TokenInfo& token : tokens) {
    if (request_.token_ids) choice.ids.push_back(token.id);
    if (choice.scorer) choice.tokens.push_back(choice.scorer->next(token));
  }
}

// What is told in place of an answer of which a choice ended so.
std::optional<ApiError> Completion::fault_of(const Finish& finish,
                                             std::chrono::milliseconds time_limit) const {
  switch (finish.reason) {
    case FinishReason::kFailed:
      return finish.device_lost ? device_lost(finish.error) : ApiError(500, "internal_error", finish.error);
    case FinishReason::kCancelled:
      return ApiError(503, "cancelled", "this request was cancelled by the server");
    case FinishReason::kTimeLimit:
      // A text that was cut is one; half a score is none.
      if (request_.shape != AnswerShape::kScore && usage().completion_tokens > 0) return std::nullopt;
      return time_is_over(time_limit);
    default:
      return std::nullopt;
  }
}

bool Completion::has_usage() const { return request_.include_usage || request_.continuous_usage; }

std::optional<Usage> Completion::usage_so_far() const {
  return request_.continuous_usage ? std::optional(usage()) : std::nullopt;
}

void Completion::send(const std::vector<std::string>& chunks) {
  for (const std::string& chunk : chunks) {
    if (!exchange_->write(event(chunk))) return give_up();
  }
}

void Completion::send_first_chunks() {
  for (std::size_t i = 0; i < streams_.size() * request_.num_choices() && !is_over_; ++i) {
    const AnsweredChoice choice{.index = i, .prompt_ids = prompt_ids(i / request_.num_choices())};
    send(first_chunks_json(head_, choice, has_usage(), usage_so_far()));
  }
}

void Completion::send_chunk(std::size_t index, AnsweredChoice choice) {
  choice.index = index;
  send(chunks_json(head_, choice, has_usage(), usage_so_far()));
}

void Completion::answer_whole() {
  std::vector<AnsweredChoice> answered;
  for (std::size_t p = 0; p < choices_.size(); ++p) {
    for (std::size_t c = 0; c < choices_[p].size(); ++c) {
      Choice& choice = choices_[p][c];
      AnsweredChoice& one = answered.emplace_back();
      one.index = p * request_.num_choices() + c;
      one.text = (request_.echo ? prompt_text(p) : std::string()) + choice.text;
      if (choice.scorer) one.log_probs = std::move(choice.tokens);
      if (request_.token_ids) one.token_ids = std::move(choice.ids);
      one.prompt_ids = prompt_ids(p);
      one.finish = choice.finish;
    }
  }
  HttpResponse response{.status = 200, .headers = headers(), .body = {}};
  response.headers.push_back({"Content-Type", "application/json"});
  response.body = answer_json(head_, answered, usage(), timings());
  exchange_->respond(std::move(response));
}

void Completion::fail(const ApiError& error) {
  if (is_over_) return;
  for (const auto& stream : streams_) stream->cancel();
  if (request_.stream) {
    exchange_->write(event(to_json(error)));
    exchange_->finish();
  } else {
    exchange_->respond(to_response(error));
  }
  end();
}

void Completion::give_up() {
  if (is_over_) return;
  for (const auto& stream : streams_) stream->cancel();
  end();
}

// The streams' callbacks hold this: they are dropped on another turn, as one of them may be running.
void Completion::end() {
  is_over_ = true;
  context_.post([self = shared_from_this()] {
    for (const auto& stream : self->streams_) stream->set_wake(nullptr);
    self->exchange_->on_gone(nullptr);
    self->has_ended_ = true;
    self->ended_(self.get());
  });
}

void Completion::cancel(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  fail(ApiError(503, "cancelled", reason));
}

RunningRequest Completion::describe() const {
  const std::lock_guard lock(mutex_);
  RunningRequest running;
  running.id = head_.id;
  running.request_id = request_id_;
  running.stream = request_.stream;
  running.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  for (std::size_t p = 0; p < streams_.size(); ++p) {
    running.prompt_tokens += streams_[p]->prompt_tokens();
    running.prompt_tokens_read += prompt_tokens_read(p);
  }
  running.completion_tokens = usage().completion_tokens;
  return running;
}

// What the model read, as text: with it the text of an answer is that of all its ids.
std::string Completion::prompt_text(std::size_t prompt) const {
  if (context_.model.tokenizer == nullptr) return {};
  return tokenizer::certain_text(*context_.model.tokenizer, request_.prompts[prompt].prompt);
}

// So far; with those that a state had read.
std::size_t Completion::prompt_tokens_read(std::size_t prompt) const {
  return std::max(streams_[prompt]->prompt_tokens_read(), num_cached_tokens(request_.prompts[prompt]));
}

// Empty: they are not wanted.
std::optional<std::vector<TokenId>> Completion::prompt_ids(std::size_t prompt) const {
  return request_.token_ids ? std::optional(request_.prompts[prompt].prompt) : std::nullopt;
}

Usage Completion::usage() const {
  Usage usage;
  usage.prompt_tokens = request_.num_given_tokens();
  usage.cached_tokens = request_.num_cached_tokens();
  for (const auto& choices : choices_) {
    for (const Choice& choice : choices) {
      usage.completion_tokens += choice.num_tokens;
      if (choice.finish) usage.completion_tokens += choice.finish->discarded_tokens;
    }
  }
  return usage;
}

AnswerTimings Completion::timings() const {
  AnswerTimings timings;
  timings.seed = request_.seed;
  for (std::size_t p = 0; p < choices_.size(); ++p) {
    for (const Choice& choice : choices_[p]) {
      if (!choice.finish) continue;
      const RequestTimes& times = choice.finish->times;
      timings.prompt_seconds = std::max(timings.prompt_seconds, times.queued + times.prefill);
      timings.decode_seconds = std::max(timings.decode_seconds, times.decode);
    }
    const std::size_t length = request_.prompts[p].prompt.size();
    const std::size_t trained = static_cast<std::size_t>(context_.model.config.context_length);
    if (trained > 0 && length > trained) timings.beyond_trained_length = true;
  }
  return timings;
}

std::vector<HttpHeader> Completion::headers() const {
  std::vector<HttpHeader> all = headers_;
  // Names of fields come from strangers; only plain ones can stand in a header.
  std::string names;
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  constexpr std::size_t kMaxBytes = 1024;
  for (const std::string& name : request_.ignored) {
    if (name.empty() || name.size() > 64 || !std::ranges::all_of(name, plain)) continue;
    if (names.size() + name.size() > kMaxBytes) break;
    names += (names.empty() ? "" : ", ") + name;
  }
  if (!names.empty()) all.push_back({"x-ttt-ignored-fields", names});
  return all;
}

}  // namespace ttt::server
