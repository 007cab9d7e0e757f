// SPDX-License-Identifier: Apache-2.0
// The meeting point of one request: the handler's threads put the answer in, the connection takes out what is
// to be sent. Knows no sockets.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "server/http.h"

namespace ttt::server {

// `wake` is called whenever there is something to take; it must only post. Locked while it runs.
class Exchange : public HttpExchange {
 public:
  Exchange(std::function<void()> wake, std::size_t max_unsent)
      : wake_(std::move(wake)), max_unsent_(max_unsent) {}

  void respond(HttpResponse response) override {
    const std::lock_guard lock(mutex_);
    if (head_ || gone_) return;
    head_ = std::move(response);
    finished_ = true;
    wake_();
  }

  void begin(HttpResponse head, std::string idle_text, std::chrono::milliseconds idle_time) override {
    const std::lock_guard lock(mutex_);
    if (head_ || gone_) return;
    head_ = std::move(head);
    is_stream_ = true;
    idle_text_ = std::move(idle_text);
    idle_time_ = idle_time;
    wake_();
  }

  bool write(std::string text) override {
    const std::lock_guard lock(mutex_);
    if (gone_) return false;
    // What comes in a burst may wait a moment, whatever its size.
    const bool is_full = !unsent_.empty() && unsent_.size() + text.size() > max_unsent_;
    if (is_full && Clock::now() - unsent_since_ > kBurstTime) {
      too_slow_ = true;
      wake_();
      return false;
    }
    if (unsent_.empty()) unsent_since_ = Clock::now();
    unsent_ += text;
    wake_();
    return true;
  }

  void finish() override {
    const std::lock_guard lock(mutex_);
    if (gone_) return;
    finished_ = true;
    wake_();
  }

  void on_gone(std::function<void()> gone) override {
    const std::lock_guard lock(gone_mutex_);
    on_gone_ = std::move(gone);
    if (gone_called_ && on_gone_) on_gone_();
  }

  // What follows is the connection's.

  void set_gone() {
    {
      const std::lock_guard lock(mutex_);
      gone_ = true;
      unsent_.clear();
    }
    const std::lock_guard lock(gone_mutex_);
    if (gone_called_) return;
    gone_called_ = true;
    if (on_gone_) on_gone_();
  }

  struct Next {
    std::optional<HttpResponse> head;  // the first time it is there
    bool is_stream = false;
    std::string text;  // to be sent
    bool finished = false;
    bool too_slow = false;
  };
  Next take() {
    const std::lock_guard lock(mutex_);
    Next next;
    if (head_ && !head_taken_) {
      next.head = std::move(*head_);
      head_taken_ = true;
    }
    next.is_stream = is_stream_;
    next.text = std::exchange(unsent_, {});
    next.finished = finished_;
    next.too_slow = too_slow_;
    return next;
  }
  // After the head was taken: these change no more.
  const std::string& idle_text() const { return idle_text_; }
  std::chrono::milliseconds idle_time() const { return idle_time_; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kBurstTime{500};

  const std::function<void()> wake_;  // posts to the strand; cheap
  const std::size_t max_unsent_;
  std::mutex mutex_;  // guards what follows, up to gone_mutex_
  std::optional<HttpResponse> head_;
  bool head_taken_ = false;
  bool is_stream_ = false;
  std::string idle_text_;
  std::chrono::milliseconds idle_time_{0};
  std::string unsent_;
  Clock::time_point unsent_since_;  // the first of its bytes
  bool finished_ = false;
  bool too_slow_ = false;
  bool gone_ = false;
  std::mutex gone_mutex_;  // guards what follows; held during the call
  std::function<void()> on_gone_;
  bool gone_called_ = false;
};

}  // namespace ttt::server
