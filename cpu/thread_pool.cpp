// SPDX-License-Identifier: Apache-2.0
#include "cpu/thread_pool.h"

#include <pthread.h>

#include "cpu/processors.h"

namespace ttt::cpu {
namespace {

// Jobs of one step follow each other within microseconds; a futex wake costs about 50 of them. So a thread
// spins a while (20 to 90 us, by the machine) before it sleeps.
constexpr int kSpins = 2000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns once `value` is no longer `old`.
void wait_while_equal(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(std::size_t num_threads, std::size_t min_parallel_work, bool pinned)
    : min_parallel_work_(min_parallel_work), next_(num_threads) {
  workers_.reserve(num_threads - 1);
  std::vector<std::size_t> places;
  if (pinned) places = place_threads(memory_nodes(allowed_processors()), num_threads);
  try {
    for (std::size_t thread = 1; thread < num_threads; ++thread) {
      workers_.emplace_back([this, thread] { worker_loop(thread); });
      if (!places.empty()) pin_thread(workers_.back(), places[thread]);
    }
  } catch (...) {  // the system has no more threads to give
    stop_workers();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop_workers(); }

void ThreadPool::stop_workers() {
  stopping_ = true;
  job_number_.fetch_add(1, std::memory_order_release);
  job_number_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::start(void (*work)(void*, std::size_t), void* context) {
  if (workers_.empty()) return;
  work_ = work;
  context_ = context;
  workers_busy_.store(static_cast<std::uint32_t>(workers_.size()), std::memory_order_relaxed);
  job_number_.fetch_add(1, std::memory_order_release);
  job_number_.notify_all();
}

void ThreadPool::wait_for_workers() {
  for (std::uint32_t busy = workers_busy_.load(std::memory_order_acquire); busy != 0;
       busy = workers_busy_.load(std::memory_order_acquire)) {
    wait_while_equal(workers_busy_, busy);
  }
}

void ThreadPool::worker_loop(std::size_t thread) {
  pthread_setname_np(pthread_self(), "ttt-compute");
  for (std::uint32_t seen = 0;; ++seen) {
    wait_while_equal(job_number_, seen);
    if (stopping_) return;
    work_(context_, thread);
    if (workers_busy_.fetch_sub(1, std::memory_order_release) == 1) workers_busy_.notify_one();
  }
}

}  // namespace ttt::cpu
