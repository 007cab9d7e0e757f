// SPDX-License-Identifier: Apache-2.0
#include "cpu/thread_pool.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

using ttt::cpu::ThreadPool;

TEST_CASE("ranges cover everything once, in contiguous parts") {
  const std::size_t threads = GENERATE(1U, 2U, 3U, 7U);
  const std::size_t count = GENERATE(0U, 1U, 2U, 100U);
  const std::size_t work = GENERATE(1U, 1000U);
  ThreadPool pool(threads, 1000);
  CHECK(pool.num_threads() == threads);
  std::vector<std::atomic<int>> seen(count);
  pool.for_ranges(count, work, [&](std::size_t begin, std::size_t end, std::size_t thread) {
    REQUIRE(thread < threads);
    for (std::size_t i = begin; i < end; ++i) ++seen[i];
  });
  for (const auto& times : seen) CHECK(times == 1);
}

TEST_CASE("pieces cover everything once, are no longer than asked for, and lie in one part each") {
  const std::size_t threads = GENERATE(1U, 2U, 3U, 7U);
  const std::size_t count = GENERATE(0U, 1U, 2U, 100U);
  const std::size_t grain = GENERATE(1U, 3U, 1000U);
  ThreadPool pool(threads);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::atomic<int>> seen(count);
    pool.for_pieces(count, grain, 1, [&](std::size_t begin, std::size_t end, std::size_t thread) {
      REQUIRE(thread < threads);
      REQUIRE((threads == 1 || end - begin <= grain));
      for (std::size_t i = begin; i < end; ++i) ++seen[i];
    });
    for (const auto& times : seen) REQUIRE(times == 1);
  }
}

TEST_CASE("pieces of several lists cover each once, and little work of all of them stays with the caller") {
  const std::size_t threads = GENERATE(1U, 2U, 3U, 7U);
  const std::size_t work = GENERATE(99U, 100U);
  ThreadPool pool(threads, 100);
  const bool shared = threads > 1 && work >= 100;
  const auto caller = std::this_thread::get_id();
  const std::vector<ThreadPool::Pieces> lists = {{100, 3}, {0, 1}, {1, 4}, {50, 1000}};
  for (int round = 0; round < 20; ++round) {
    std::vector<std::vector<std::atomic<int>>> seen;
    for (const ThreadPool::Pieces& list : lists) seen.emplace_back(list.count);
    std::atomic<int> wrong{0};
    pool.for_pieces(
        lists, work, [&](std::size_t list, std::size_t begin, std::size_t end, std::size_t thread) {
          const bool right = shared ? end - begin <= lists[list].grain : std::this_thread::get_id() == caller;
          if (!right || thread >= threads) ++wrong;
          for (std::size_t i = begin; i < end; ++i) ++seen[list][i];
        });
    REQUIRE(wrong == 0);
    for (const auto& list : seen) {
      for (const auto& times : list) REQUIRE(times == 1);
    }
  }
}

TEST_CASE("a thread takes its own part of every list before those of others") {
  ThreadPool pool(2);
  const std::vector<ThreadPool::Pieces> lists = {{2, 1}, {2, 1}};
  std::vector<std::pair<std::size_t, std::size_t>> order;  // of the caller
  std::atomic<std::size_t> taken{0};
  pool.for_pieces(lists, 4, [&](std::size_t list, std::size_t begin, std::size_t, std::size_t thread) {
    if (thread == 0) {
      order.emplace_back(list, begin);
      ++taken;
    }
    while (thread == 1 && taken < 2) std::this_thread::yield();  // it takes no more than one until then
  });
  REQUIRE(order.size() >= 2);
  CHECK(order[0] == std::pair<std::size_t, std::size_t>(0, 0));
  CHECK(order[1] == std::pair<std::size_t, std::size_t>(1, 0));
}

TEST_CASE("what a thread that is held up has left, the other takes") {
  ThreadPool pool(2);
  std::atomic<int> done{0};
  pool.for_pieces(8, 1, 1, [&](std::size_t begin, std::size_t, std::size_t) {
    while (begin == 0 && done != 7) std::this_thread::yield();  // whoever has the first piece waits for all
    ++done;
  });
  CHECK(done == 8);
}

TEST_CASE("every task runs once, and its writes are seen by the caller") {
  ThreadPool pool(3);
  std::vector<int> results(50);
  for (int round = 0; round < 200; ++round) {
    pool.for_tasks(results.size(), 1,
                   [&](std::size_t task, std::size_t) { results[task] = round + static_cast<int>(task); });
    for (std::size_t task = 0; task < results.size(); ++task)
      REQUIRE(results[task] == round + static_cast<int>(task));
  }
}

TEST_CASE("a pool that slept wakes up again") {
  ThreadPool pool(2);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int> done{0};
    pool.for_tasks(8, 1, [&](std::size_t, std::size_t) { ++done; });
    CHECK(done == 8);
  }
}

TEST_CASE("a pool can go without having worked") { ThreadPool pool(4); }

TEST_CASE("little work stays with the caller, much work is shared") {
  ThreadPool pool(2, 1000);
  const auto caller = std::this_thread::get_id();
  std::atomic<int> elsewhere{0};
  const auto look = [&](std::size_t, std::size_t, std::size_t) {
    elsewhere += std::this_thread::get_id() != caller;
  };
  pool.for_ranges(10, 99, look);
  CHECK(elsewhere == 0);
  pool.for_ranges(10, 100, look);
  CHECK(elsewhere == 1);
}
