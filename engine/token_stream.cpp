// SPDX-License-Identifier: Apache-2.0
#include "engine/token_stream.h"

#include <condition_variable>
#include <new>
#include <utility>

namespace ttt {

std::optional<TokenEvent> TokenStream::try_pop() {
  const std::lock_guard lock(mutex_);
  if (events_.empty()) return std::nullopt;
  TokenEvent event = std::move(events_.front());
  events_.pop_front();
  if (event.finish) ++num_finished_;
  return event;
}

std::optional<TokenEvent> TokenStream::pop_until(std::chrono::steady_clock::time_point deadline) {
  if (auto event = try_pop()) return event;
  std::mutex mutex;
  std::condition_variable changed;
  bool pushed = false;
  set_wake([&] {
    const std::lock_guard lock(mutex);
    pushed = true;
    changed.notify_one();
  });
  // The wake may be for an event that was popped before it came.
  std::optional<TokenEvent> event;
  bool in_time = true;
  while (!(event = try_pop()) && in_time) {
    std::unique_lock lock(mutex);
    in_time = changed.wait_until(lock, deadline, [&] { return pushed; });
    pushed = false;
  }
  set_wake(nullptr);
  return event;
}

void TokenStream::set_wake(std::function<void()> wake) {
  const std::lock_guard lock(wake_mutex_);
  wake_ = std::move(wake);
  if (!wake_) return;
  bool waiting = false;
  {
    const std::lock_guard events_lock(mutex_);
    waiting = !events_.empty();
  }
  if (waiting) wake_();
}

bool TokenStream::exhausted() const {
  const std::lock_guard lock(mutex_);
  return num_finished_ == num_choices_ || (broken_off_ && events_.empty());
}

void TokenStream::push(TokenEvent event) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  } catch (const std::bad_alloc&) {
    return break_off();
  }
  const std::lock_guard lock(wake_mutex_);
  if (wake_) wake_();
}

void TokenStream::break_off() noexcept {
  cancel();
  {
    const std::lock_guard lock(mutex_);
    broken_off_ = true;
  }
  const std::lock_guard lock(wake_mutex_);
  if (wake_) wake_();
}

}  // namespace ttt
