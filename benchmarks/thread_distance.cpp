// SPDX-License-Identifier: Apache-2.0
// How far two processors are from each other: the time of a message there and back through one line of the
// cache each way, and the rate at which one reads what the other has just written. Virtual machines move
// their processors about, and say nothing of it; run it before and after what is measured.
//
// usage: thread_distance, on the first two processors that it may use
#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "cpu/processors.h"

namespace ttt {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMessages = 200'000, kBlocks = 300, kRounds = 3;
constexpr std::size_t kLine = 64, kBlockLines = (std::size_t{256} << 10) / kLine;  // 256 KiB

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// The numbers of the last question and of the last answer, each on a line of the cache of its own.
struct Exchange {
  void ask(int number) { question.store(number, std::memory_order_release); }
  void wait_for_answer(int number) const {
    while (answer.load(std::memory_order_acquire) < number) {
    }
  }
  // The other thread: work(number), then the answer, for each question in turn.
  template <typename Work>
  void serve(int count, Work&& work) {
    for (int number = 1; number <= count; ++number) {
      while (question.load(std::memory_order_acquire) < number) {
      }
      work(number);
      answer.store(number, std::memory_order_release);
    }
  }

  alignas(64) std::atomic<int> question{0};
  alignas(64) std::atomic<int> answer{0};
};

void pin_to(std::size_t processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  if (::pthread_setaffinity_np(::pthread_self(), sizeof set, &set) != 0) {
    throw std::runtime_error(fmt::format("cannot stay on processor {}", processor));
  }
}

double message_seconds(std::size_t other_processor) {
  Exchange exchange;
  std::thread other([&] {
    pin_to(other_processor);
    exchange.serve(kMessages, [](int) {});
  });
  const Clock::time_point begin = Clock::now();
  for (int number = 1; number <= kMessages; ++number) {
    exchange.ask(number);
    exchange.wait_for_answer(number);
  }
  const double seconds = seconds_since(begin);
  other.join();
  return seconds / kMessages;
}

struct alignas(kLine) Line {
  std::uint64_t number = 0;
};

double bytes_per_second(std::size_t other_processor) {
  Exchange exchange;
  std::vector<Line> block(kBlockLines);
  std::thread other([&] {
    pin_to(other_processor);
    exchange.serve(kBlocks, [&](int number) {
      for (Line& line : block) line.number = static_cast<std::uint64_t>(number);
    });
  });
  double seconds = 0.0;
  bool right = true;
  for (int number = 1; number <= kBlocks; ++number) {
    exchange.ask(number);
    exchange.wait_for_answer(number);
    const Clock::time_point begin = Clock::now();
    std::uint64_t sum = 0;  // one load a line: lines are what travels
    for (const Line& line : block) sum += line.number;
    seconds += seconds_since(begin);
    right = right && sum == kBlockLines * static_cast<std::uint64_t>(number);
  }
  other.join();
  if (!right) throw std::runtime_error("read something else than was written");
  return static_cast<double>(kBlocks * kBlockLines * kLine) / seconds;
}

void run() {
  const std::vector<std::size_t> processors = cpu::allowed_processors();
  if (processors.size() < 2) throw std::runtime_error("needs two processors");
  pin_to(processors[0]);
  for (int round = 0; round < kRounds; ++round) {
    fmt::print("message there and back {:.0f} ns, read of what the other wrote {:.1f} GB/s\n",
               message_seconds(processors[1]) * 1e9, bytes_per_second(processors[1]) / 1e9);
  }
}

}  // namespace
}  // namespace ttt

int main() {
  try {
    ttt::run();
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "thread_distance: {}\n", error.what());
    return 1;
  }
}
