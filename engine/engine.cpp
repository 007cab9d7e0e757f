// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <string>
#include <utility>

#include "engine/request_error.h"

namespace ttt {

Engine::Engine(Backend& backend, const ModelConfig& config, const tokenizer::Tokenizer* tokenizer,
               const SchedulerOptions& options)
    : scheduler_(backend, config, tokenizer, options), options_(options), thread_([this] { loop(); }) {}

Engine::~Engine() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

std::shared_ptr<TokenStream> Engine::submit(GenerationRequest request) {
  std::vector<GenerationRequest> one;
  one.push_back(std::move(request));
  const auto streams = submit(std::move(one));
  return streams.empty() ? nullptr : streams.front();
}

std::vector<std::shared_ptr<TokenStream>> Engine::submit(std::vector<GenerationRequest> requests) {
  if (const std::string fault = device_fault(); !fault.empty()) throw DeviceLost(fault);
  std::vector<Submission> submissions;
  std::vector<std::shared_ptr<TokenStream>> streams;
  std::size_t tokens = 0;
  for (GenerationRequest& request : requests) {
    scheduler_.check(request);
    tokens += num_given_tokens(request);
    streams.push_back(std::make_shared<TokenStream>(request));
    submissions.push_back({std::make_shared<const GenerationRequest>(std::move(request)), streams.back(),
                           Scheduler::Clock::now()});
  }
  if (submissions.size() > options_.max_waiting || tokens > options_.max_waiting_tokens) {
    throw RequestError(
        "prompt", fmt::format("prompt: wanted at most {} prompts of {} tokens in all, which is what may "
                              "wait here, found {} of {}",
                              options_.max_waiting, options_.max_waiting_tokens, submissions.size(), tokens));
  }
  {
    const std::lock_guard lock(mutex_);
    if (scheduler_.num_waiting() + inbox_.size() + submissions.size() > options_.max_waiting ||
        scheduler_.waiting_tokens() + inbox_tokens_ + tokens > options_.max_waiting_tokens) {
      return {};
    }
    std::ranges::move(submissions, std::back_inserter(inbox_));
    inbox_tokens_ += tokens;
  }
  changed_.notify_one();
  return streams;
}

Engine::Load Engine::load() const {
  const std::lock_guard lock(mutex_);
  return {scheduler_.num_waiting() + inbox_.size(), scheduler_.num_running()};
}

void Engine::loop() {
  pthread_setname_np(pthread_self(), "ttt-engine");
  for (bool go_on = true; go_on;) {
    try {
      go_on = take_submissions();
      if (go_on) scheduler_.step();
    } catch (const std::exception& error) {  // out of memory
      scheduler_.end_all(FinishReason::kFailed, error.what());
    }
  }
  scheduler_.end_all(FinishReason::kCancelled);
}

bool Engine::take_submissions() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopping_ || !inbox_.empty() || !scheduler_.idle(); });
  while (!inbox_.empty()) {
    Submission& next = inbox_.front();
    scheduler_.add(next.request, next.stream, next.submitted);
    inbox_tokens_ -= num_given_tokens(*next.request);
    inbox_.pop_front();
  }
  return !stopping_;
}

}  // namespace ttt
