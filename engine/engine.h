// SPDX-License-Identifier: Apache-2.0
// The engine: a scheduler on a thread of its own. Requests go in from any thread, each comes out through its
// own stream; nothing else is shared.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/scheduler.h"

namespace ttt {

class Engine {
 public:
  // As Scheduler's. The backend belongs to the engine's thread until the engine is destroyed.
  Engine(Backend& backend, const ModelConfig& config, const tokenizer::Tokenizer* tokenizer,
         const SchedulerOptions& options = {});
  // Ends every request with kCancelled after the step that is running.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Throws RequestError for a request that can never run, DeviceLost when nothing runs any more,
  // std::bad_alloc. Null: the queue is full; nothing was taken.
  std::shared_ptr<TokenStream> submit(GenerationRequest request);
  // All of them, in order, or none: then nothing is returned. Throws as above for more than the queue can
  // hold.
  std::vector<std::shared_ptr<TokenStream>> submit(std::vector<GenerationRequest> requests);

  struct Load {
    std::size_t waiting = 0;  // requests
    std::size_t running = 0;
  };
  Load load() const;
  // Why nothing runs any more; empty: all is well.
  std::string device_fault() const { return scheduler_.device_fault(); }

 private:
  struct Submission {
    std::shared_ptr<const GenerationRequest> request;
    std::shared_ptr<TokenStream> stream;
    Scheduler::Clock::time_point submitted;
  };

  void loop();
  bool take_submissions();  // waits while there is nothing to do; false: stop

  Scheduler scheduler_;  // the thread's
  const SchedulerOptions options_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Submission> inbox_;
  std::size_t inbox_tokens_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace ttt
