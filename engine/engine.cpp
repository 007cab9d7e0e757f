// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <exception>
#include <utility>

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
  scheduler_.check(request);
  auto stream = std::make_shared<TokenStream>(request);
  auto shared = std::make_shared<const GenerationRequest>(std::move(request));
  const std::size_t tokens = shared->prompt.size();
  {
    const std::lock_guard lock(mutex_);
    if (scheduler_.num_waiting() + inbox_.size() >= options_.max_waiting ||
        scheduler_.waiting_tokens() + inbox_tokens_ + tokens > options_.max_waiting_tokens) {
      return nullptr;
    }
    inbox_.push_back({std::move(shared), stream, Scheduler::Clock::now()});
    inbox_tokens_ += tokens;
  }
  changed_.notify_one();
  return stream;
}

Engine::Load Engine::load() const {
  const std::lock_guard lock(mutex_);
  return {scheduler_.num_waiting() + inbox_.size(), scheduler_.num_running()};
}

void Engine::loop() {
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
    inbox_tokens_ -= next.request->prompt.size();
    inbox_.pop_front();
  }
  return !stopping_;
}

}  // namespace ttt
