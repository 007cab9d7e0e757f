// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <new>
#include <span>
#include <stdexcept>
#include <utility>

#include "engine/request_error.h"
#include "engine/state_layout.h"

namespace ttt {
namespace {

double seconds_between(Scheduler::Clock::time_point begin, Scheduler::Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

bool is_finite(const SegmentResult& result) {
  return std::isfinite(result.sampled.log_prob) &&
         std::ranges::all_of(result.target_log_probs, [](float value) { return std::isfinite(value); });
}

}  // namespace

struct Scheduler::Running {
  struct Choice {
    explicit Choice(Session new_session) : session(std::move(new_session)) {}

    Session session;
    bool finished = false;
    std::uint64_t last_step = 0;  // that served it, or before which it began
    Clock::time_point first_token{};
    std::size_t tokens_drawn = 0;
    std::vector<TokenEvent> held;  // until the best of them are known
  };

  // One choice in each slot.
  Running(const Waiting& waiting, std::span<const SlotId> slots, const tokenizer::Tokenizer* tokenizer)
      : request(waiting.request),
        stream(waiting.stream),
        submitted(waiting.submitted),
        prompt_shared(slots.size() == 1) {
    choices.reserve(slots.size());
    choices.emplace_back(Session(request, slots[0], tokenizer));
    for (std::size_t i = 1; i < slots.size(); ++i) {
      choices.emplace_back(choices[0].session.fork(slots[i], static_cast<std::uint32_t>(i)));
    }
  }

  std::shared_ptr<const GenerationRequest> request;
  std::shared_ptr<TokenStream> stream;
  Clock::time_point submitted;
  Clock::time_point admitted{};
  std::vector<Choice> choices;
  // The first reads the prompt but for its last token; then the others start as copies of it, and each reads
  // that token itself, and its own continuation if one was given.
  bool prompt_shared;

  bool holds_events() const { return choices.size() > static_cast<std::size_t>(request->num_choices); }
  bool all_finished() const { return std::ranges::all_of(choices, &Choice::finished); }
  std::size_t prompt_left(const Session& session) const {
    if (prompt_shared) return session.prompt_tokens_left();
    const std::size_t shared = request->prompt.size() - 1,
                      read = static_cast<std::size_t>(session.position());
    return read < shared ? shared - read : 0;
  }
};

Scheduler::Scheduler(Backend& backend, const ModelConfig& config, const tokenizer::Tokenizer* tokenizer,
                     const SchedulerOptions& options, Now now)
    : backend_(backend), config_(config), tokenizer_(tokenizer), options_(options), now_(std::move(now)) {
  const BackendInfo& info = backend.info();
  if (info.num_slots > 1 && info.max_batch_tokens < 2) {
    throw std::logic_error("Scheduler: several slots need a step of at least two tokens");
  }
  budget_.tokens = info.max_batch_tokens;
  budget_.prefill_beside_decode =
      options.prefill_beside_decode == 0 ? info.max_batch_tokens : options.prefill_beside_decode;
  budget_.mini_batch_size = config.mini_batch_size;
  free_slots_.reserve(info.num_slots);
  for (std::size_t slot = info.num_slots; slot-- > 0;) free_slots_.push_back(static_cast<SlotId>(slot));
}

Scheduler::~Scheduler() = default;

void Scheduler::check(const GenerationRequest& request) const {
  check_request(request, config_.vocab_size);
  if (num_sequences(request) > backend_.info().num_slots) {
    throw RequestError(request.best_of == 0 ? "n" : "best_of",
                       fmt::format("{}: wanted at most {} (sequences that run at once), found {}",
                                   request.best_of == 0 ? "n" : "best_of", backend_.info().num_slots,
                                   num_sequences(request)));
  }
  if (num_given_tokens(request) > options_.max_waiting_tokens) {
    throw RequestError("prompt", fmt::format("prompt: wanted at most {} tokens, found {}",
                                             options_.max_waiting_tokens, num_given_tokens(request)));
  }
  if (tokenizer_ == nullptr && !request.stop_strings.empty()) {
    throw RequestError("stop", "stop: this model has no tokenizer; use stop_token_ids");
  }
}

void Scheduler::add(std::shared_ptr<const GenerationRequest> request, std::shared_ptr<TokenStream> stream,
                    Clock::time_point submitted) {
  waiting_tokens_ += num_given_tokens(*request);
  ++num_waiting_;
  waiting_.push_back({std::move(request), std::move(stream), submitted});
}

void Scheduler::step() {
  end_overdue();
  remove_finished();
  admit();
  plan();
  if (!plan_.empty()) run_planned();
  if (device_lost_) end_all(FinishReason::kFailed, device_fault_);
  remove_finished();
}

void Scheduler::end_all(FinishReason reason, const std::string& error) {
  while (!waiting_.empty()) end_waiting(waiting_.begin(), reason, error);
  for (const auto& request : running_) end_request(*request, reason, error);
  remove_finished();
}

void Scheduler::end_overdue() {
  const Clock::time_point now = now_();
  const auto reason_to_end = [&](const auto& entry) {
    if (entry.stream->cancelled()) return FinishReason::kCancelled;
    const auto limit = entry.request->time_limit;
    if (limit.count() > 0 && now - entry.submitted >= limit) return FinishReason::kTimeLimit;
    return FinishReason::kRunning;
  };
  for (auto waiting = waiting_.begin(); waiting != waiting_.end();) {
    const FinishReason reason = reason_to_end(*waiting);
    waiting = reason == FinishReason::kRunning ? waiting + 1 : end_waiting(waiting, reason);
  }
  for (const auto& request : running_) {
    const FinishReason reason = reason_to_end(*request);
    if (reason != FinishReason::kRunning) end_request(*request, reason);
  }
}

std::deque<Scheduler::Waiting>::iterator Scheduler::end_waiting(std::deque<Waiting>::iterator waiting,
                                                                FinishReason reason,
                                                                const std::string& error) {
  for (std::size_t choice = 0; std::cmp_less(choice, waiting->request->num_choices); ++choice) {
    TokenEvent event;
    event.choice = choice;
    event.finish.emplace();
    event.finish->reason = reason;
    event.finish->error = error;
    event.finish->device_lost = reason == FinishReason::kFailed && device_lost_;
    event.finish->times.queued = seconds_between(waiting->submitted, now_());
    waiting->stream->push(std::move(event));
  }
  no_longer_waits(*waiting);
  return waiting_.erase(waiting);
}

void Scheduler::no_longer_waits(const Waiting& waiting) {
  waiting_tokens_ -= num_given_tokens(*waiting.request);
  --num_waiting_;
}

// First come, first served: a request that needs many slots is not overtaken, so it gets them.
void Scheduler::admit() {
  while (!waiting_.empty() && num_sequences(*waiting_.front().request) <= free_slots_.size()) {
    const Waiting& next = waiting_.front();
    const std::size_t count = num_sequences(*next.request);
    // What may throw comes first: then the request still waits, and is ended as such.
    running_.reserve(running_.size() + 1);
    auto running = std::make_unique<Running>(next, std::span(free_slots_).last(count), tokenizer_);
    free_slots_.resize(free_slots_.size() - count);
    no_longer_waits(next);
    waiting_.pop_front();
    ++num_running_;
    running_.push_back(std::move(running));
    begin(*running_.back());
  }
}

void Scheduler::begin(Running& request) {
  request.admitted = now_();
  for (Running::Choice& choice : request.choices) choice.last_step = step_number_;
  try {
    load_start(request.choices[0].session.slot(), request.request->start.get());
  } catch (const std::exception& error) {
    return fail_request(request, error);
  }
  const Session& session = request.choices[0].session;
  if (session.reason() != FinishReason::kRunning) return finish(request, 0);
  if (request.prompt_left(session) == 0) share_prompt(request);
}

void Scheduler::load_start(SlotId slot, const SequenceState* start) {
  if (start == nullptr) return backend_.reset(slot);
  backend_.load(slot, start->position, start->bytes);
}

std::shared_ptr<const SequenceState> Scheduler::save(const Session& session) const {
  auto state = std::make_shared<SequenceState>();
  state->position = session.position();
  state->bytes.resize(state_bytes(config_, state->position));
  backend_.save(session.slot(), state->position, state->bytes);
  return state;
}

void Scheduler::share_prompt(Running& request) {
  request.prompt_shared = true;
  const Session& first = request.choices[0].session;
  try {
    for (std::size_t choice = 1; choice < request.choices.size(); ++choice) {
      Session& session = request.choices[choice].session;
      backend_.copy(first.slot(), session.slot(), first.position());
      session = first.fork(session.slot(), static_cast<std::uint32_t>(choice));
      request.choices[choice].last_step = step_number_;
    }
  } catch (const std::exception& error) {
    fail_request(request, error);
  }
}

void Scheduler::plan() {
  sequences_.clear();
  loads_.clear();
  for (const auto& request : running_) {
    const std::size_t count = request->prompt_shared ? request->choices.size() : 1;
    for (std::size_t i = 0; i < count; ++i) {
      const Running::Choice& choice = request->choices[i];
      if (choice.finished) continue;
      sequences_.push_back({request.get(), i});
      loads_.push_back({choice.session.position(), request->prompt_left(choice.session), choice.last_step});
    }
  }
  plan_step(loads_, budget_, plan_);
}

void Scheduler::run_planned() {
  ++step_number_;
  batch_.clear();
  for (const PlannedSegment& planned : plan_) {
    const Sequence& sequence = sequences_[planned.sequence];
    Running::Choice& choice = sequence.request->choices[sequence.choice];
    choice.last_step = step_number_;
    batch_.push_back(choice.session.next_segment(planned.num_tokens));
  }
  std::span<const SegmentResult> results;
  try {
    backend_.submit(batch_);
    results = backend_.wait();
  } catch (const std::exception& error) {
    for (const PlannedSegment& planned : plan_) {
      fail_request(*sequences_[planned.sequence].request, error);
    }
    return;
  }
  for (std::size_t i = 0; i < plan_.size(); ++i) accept(sequences_[plan_[i].sequence], results[i]);
}

void Scheduler::fail_request(Running& request, const std::exception& error) {
  note_lost_device(error);  // first: who reads the end may ask at once
  end_request(request, FinishReason::kFailed, error.what());
}

void Scheduler::note_lost_device(const std::exception& error) {
  if (device_lost_ || dynamic_cast<const DeviceLost*>(&error) == nullptr) return;
  device_fault_ = error.what();
  device_lost_ = true;
}

void Scheduler::accept(const Sequence& sequence, const SegmentResult& result) {
  Running& request = *sequence.request;
  Running::Choice& choice = request.choices[sequence.choice];
  if (choice.finished) return;  // with another choice, in this step
  if (!is_finite(result)) return end_request(request, FinishReason::kFailed, kNotFinite);
  Session& session = choice.session;
  SessionStep step = session.accept(result);
  request.stream->set_prompt_tokens_read(
      std::min(session.prompt_tokens(), static_cast<std::size_t>(session.position())));
  if (step.token && choice.tokens_drawn++ == 0) choice.first_token = now_();

  // Of a prompt of one token every choice reads the whole.
  const bool has_own = !request.request->continuations.empty();
  if (!step.prompt_tokens.empty() && (sequence.choice == 0 || has_own)) {
    TokenEvent event;
    event.choice = sequence.choice;
    event.prompt_tokens = std::move(step.prompt_tokens);
    request.stream->push(std::move(event));
  }
  if (step.token) {
    TokenEvent event;
    event.tokens.push_back(std::move(*step.token));
    event.text = std::move(step.text);
    publish(request, sequence.choice, std::move(event));
  }
  if (session.reason() != FinishReason::kRunning) {
    finish(request, sequence.choice);
  } else if (!request.prompt_shared && request.prompt_left(session) == 0) {
    share_prompt(request);
  }
}

void Scheduler::end_request(Running& request, FinishReason reason, const std::string& error) {
  for (std::size_t choice = 0; choice < request.choices.size(); ++choice) {
    if (request.choices[choice].finished) continue;
    request.choices[choice].session.end(reason);
    try {
      finish(request, choice, error);
    } catch (const std::bad_alloc&) {  // not even the end can be told
      release(request, choice);
      request.stream->break_off();
    }
  }
}

void Scheduler::release(Running& request, std::size_t choice_index) {
  Running::Choice& choice = request.choices[choice_index];
  if (std::exchange(choice.finished, true)) return;
  free_slots_.push_back(choice.session.slot());  // never more than once were reserved
}

void Scheduler::finish(Running& request, std::size_t choice_index, const std::string& error) {
  Running::Choice& choice = request.choices[choice_index];
  const Clock::time_point now = now_();
  TokenEvent event;
  event.text = choice.session.finish();
  Finish& finish = event.finish.emplace();
  finish.reason = choice.session.reason();
  finish.stop_string = choice.session.stop_string();
  finish.stop_id = choice.session.stop_id();
  finish.ended_by_token = choice.session.ended_by_token();
  finish.error = error;
  if (request.request->keep_state && finish.reason != FinishReason::kFailed) {
    try {
      finish.state = save(choice.session);
    } catch (const std::exception& fault) {
      note_lost_device(fault);
      finish.reason = FinishReason::kFailed;
      finish.error = fault.what();
    }
  }
  finish.device_lost = finish.reason == FinishReason::kFailed && device_lost_;
  finish.mean_log_prob = choice.session.mean_log_prob();
  const bool drew = choice.tokens_drawn > 0;
  const Clock::time_point prefilled = drew ? choice.first_token : now;
  finish.times = {.queued = seconds_between(request.submitted, request.admitted),
                  .prefill = seconds_between(request.admitted, prefilled),
                  .decode = seconds_between(prefilled, now),
                  .decode_steps = drew ? choice.tokens_drawn - 1 : 0};
  publish(request, choice_index, std::move(event));
  release(request, choice_index);
  if (request.holds_events() && request.all_finished()) publish_best(request);
}

void Scheduler::publish(Running& request, std::size_t choice, TokenEvent event) {
  event.choice = choice;
  if (request.holds_events()) {
    request.choices[choice].held.push_back(std::move(event));
  } else {
    request.stream->push(std::move(event));
  }
}

// Those that ended by themselves come before those that were ended. If a device failed, the best are unknown.
void Scheduler::publish_best(Running& request) {
  std::vector<Running::Choice*> ranking;
  std::optional<Finish> failed;
  for (Running::Choice& choice : request.choices) {
    ranking.push_back(&choice);
    if (choice.session.reason() == FinishReason::kFailed) failed = choice.held.back().finish;
  }
  const auto rank_of = [](const Running::Choice* choice) {
    const FinishReason reason = choice->session.reason();
    const bool was_ended = reason == FinishReason::kCancelled || reason == FinishReason::kTimeLimit;
    const double log_prob = choice->session.mean_log_prob();
    return std::pair(!was_ended, std::isnan(log_prob) ? -std::numeric_limits<double>::infinity() : log_prob);
  };
  std::ranges::stable_sort(ranking, std::ranges::greater(), rank_of);
  const auto num_best = static_cast<std::size_t>(request.request->num_choices);
  std::size_t discarded_tokens = 0;
  for (std::size_t i = num_best; i < ranking.size(); ++i) discarded_tokens += ranking[i]->tokens_drawn;
  for (std::size_t rank = 0; rank < num_best; ++rank) {
    for (TokenEvent& event : ranking[rank]->held) {
      event.choice = rank;
      if (event.finish && failed) event.finish = failed;
      if (event.finish && rank == 0) event.finish->discarded_tokens = discarded_tokens;
      request.stream->push(std::move(event));
    }
  }
}

void Scheduler::remove_finished() {
  num_running_ -= std::erase_if(running_, [](const auto& request) { return request->all_finished(); });
}

}  // namespace ttt
