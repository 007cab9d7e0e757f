// SPDX-License-Identifier: Apache-2.0
// The CPU backend's only threads. Work is cut so that no result depends on who computes it: a function
// gets whole outputs, never a part of a sum.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>
#include <type_traits>
#include <vector>

namespace ttt::cpu {

class ThreadPool {
 public:
  // `num_threads` >= 1 counts the caller, who works too. Work of fewer operations than `min_parallel_work`
  // stays with the caller: a hand-over costs microseconds, and a whole time slice where another program
  // holds the worker's processor.
  // `pinned`: each worker is tied to a processor as place_threads() of processors.h says; the caller stays
  // free. Throws std::system_error where the system has no more threads to give.
  explicit ThreadPool(std::size_t num_threads, std::size_t min_parallel_work = 0, bool pinned = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::size_t num_threads() const { return workers_.size() + 1; }

  // fn(begin, end, thread): contiguous parts of [0, count), one per thread. Returns when all are done.
  // item_work: operations of one item. fn must not throw. One caller at a time; nothing is allocated.
  template <typename Fn>
  void for_ranges(std::size_t count, std::size_t item_work, Fn&& fn) {
    const bool stays = count < 2 || count * item_work < min_parallel_work_;
    const std::size_t parts = stays ? 1 : num_threads();
    if (parts == 1) {
      if (count > 0) fn(std::size_t{0}, count, std::size_t{0});
      return;
    }
    run_on_all([&, parts](std::size_t thread) {
      const std::size_t begin = count * thread / parts;
      const std::size_t end = count * (thread + 1) / parts;
      if (begin < end) fn(begin, end, thread);
    });
  }

  // Items [0, count), to be taken in pieces of at most `grain`.
  struct Pieces {
    std::size_t count, grain;
  };
  static constexpr std::size_t kMaxLists = 4;

  // fn(list, begin, end, thread): pieces of each list. A thread takes those of its own part of every list
  // first, which for_ranges() would give it, then what others have left: so none waits for one whose
  // processor does something else meanwhile, nor between the lists. `work`: operations of all of them.
  // REQUIRES: at most kMaxLists lists.
  template <typename Fn>
  void for_pieces(std::span<const Pieces> lists, std::size_t work, Fn&& fn) {
    const std::size_t parts = work < min_parallel_work_ ? 1 : num_threads();
    if (parts == 1) {
      for (std::size_t list = 0; list < lists.size(); ++list) {
        if (lists[list].count > 0) fn(list, std::size_t{0}, lists[list].count, std::size_t{0});
      }
      return;
    }
    for (std::size_t part = 0; part < parts; ++part) {
      for (std::size_t list = 0; list < lists.size(); ++list) {
        next_[part].of_list[list].store(lists[list].count * part / parts, std::memory_order_relaxed);
      }
    }
    run_on_all([&, parts](std::size_t thread) {
      for (std::size_t i = 0; i < parts; ++i) {
        const std::size_t part = (thread + i) % parts;
        for (std::size_t list = 0; list < lists.size(); ++list) {
          const auto [count, grain] = lists[list];
          const std::size_t end = count * (part + 1) / parts;
          std::atomic<std::size_t>& next = next_[part].of_list[list];
          for (std::size_t first = next.fetch_add(grain, std::memory_order_relaxed); first < end;
               first = next.fetch_add(grain, std::memory_order_relaxed)) {
            fn(list, first, end - first < grain ? end : first + grain, thread);
          }
        }
      }
    });
  }

  // fn(begin, end, thread): the same of one list. item_work: operations of one item.
  template <typename Fn>
  void for_pieces(std::size_t count, std::size_t grain, std::size_t item_work, Fn&& fn) {
    const Pieces only{count, grain};
    for_pieces(
        {&only, 1}, count * item_work,
        [&](std::size_t, std::size_t begin, std::size_t end, std::size_t thread) { fn(begin, end, thread); });
  }

  // fn(task, thread) for each task in [0, count), taken as threads become free; else as above.
  template <typename Fn>
  void for_tasks(std::size_t count, std::size_t task_work, Fn&& fn) {
    if (num_threads() == 1 || count * task_work < min_parallel_work_) {
      for (std::size_t task = 0; task < count; ++task) fn(task, std::size_t{0});
      return;
    }
    std::atomic<std::size_t> next{0};
    run_on_all([&, count](std::size_t thread) {
      for (std::size_t task = next++; task < count; task = next++) fn(task, thread);
    });
  }

 private:
  template <typename Fn>
  void run_on_all(Fn&& fn) {
    using Function = std::remove_reference_t<Fn>;
    start([](void* context, std::size_t thread) { (*static_cast<Function*>(context))(thread); }, &fn);
    fn(std::size_t{0});
    wait_for_workers();
  }

  void stop_workers();
  void start(void (*work)(void*, std::size_t), void* context);
  void wait_for_workers();
  void worker_loop(std::size_t thread);

  struct alignas(64) Next {
    std::atomic<std::size_t> of_list[kMaxLists]{};
  };

  std::size_t min_parallel_work_;
  std::vector<Next> next_;  // of each part of for_pieces(), on a cache line of its own
  // One job at a time: written by start(), then published by `job_number_`.
  void (*work_)(void*, std::size_t) = nullptr;
  void* context_ = nullptr;
  bool stopping_ = false;
  std::atomic<std::uint32_t> job_number_{0};
  std::atomic<std::uint32_t> workers_busy_{0};
  std::vector<std::thread> workers_;
};

}  // namespace ttt::cpu
