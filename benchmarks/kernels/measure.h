// SPDX-License-Identifier: Apache-2.0
// What every kernel's benchmark shares: threads, the machine's limits, and the order of things. A kernel is
// checked against float64 first and timed only if it is right. Then limits and kernel take turns, so that
// other programs on the machine disturb them alike, and the best of all rounds counts.
#pragma once

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cpu/machine_probe.h"
#include "cpu/thread_pool.h"

namespace ttt::bench {

inline constexpr std::size_t kAlways = std::size_t{1} << 40;  // work that every thread shares
inline constexpr std::size_t kSinkStride = 16;                // floats of a cache line
inline constexpr int kRounds = 15;

// The threads, and what they can do at best.
class Machine {
 public:
  explicit Machine(std::size_t threads) : pool(threads), sinks_(threads * kSinkStride) {}

  // Reads floats plainly, in the calling thread.
  void read(std::span<const float> from, std::size_t thread) {
    cpu::read_plainly(from.data(), from.size(), &sinks_[thread * kSinkStride]);
  }
  // Reads floats plainly, each thread its part. Returns their bytes.
  double read_shared(std::span<const float> from) {
    pool.for_ranges(from.size(), kAlways, [&](std::size_t begin, std::size_t end, std::size_t thread) {
      read(from.subspan(begin, end - begin), thread);
    });
    return static_cast<double>(from.size_bytes());
  }

  // Multiplies in registers, by all threads or by the caller alone. Returns the operations.
  double compute(bool int8, bool shared) {
    constexpr std::size_t kSteps = 1'000'000;
    std::vector<double> work(shared ? pool.num_threads() : 1);
    const auto one = [&](std::size_t thread) {
      float* const sink = &sinks_[thread * kSinkStride];
      work[thread] =
          int8 ? cpu::multiply_int8_plainly(kSteps, sink) : cpu::multiply_add_plainly(kSteps, sink);
    };
    if (shared) {
      pool.for_ranges(work.size(), kAlways,
                      [&](std::size_t, std::size_t, std::size_t thread) { one(thread); });
    } else {
      one(0);
    }
    double sum = 0.0;
    for (const double part : work) sum += part;
    return sum;
  }

  cpu::ThreadPool pool;
  bool failed = false;  // a kernel was wrong

 private:
  std::vector<float> sinks_;  // what a limit reads or computes goes here, so that it is done
};

// What a run of the kernel must move and compute at least.
struct Work {
  double bytes = 0.0;  // read and written, each once
  double operations = 0.0;
  bool int8 = false;   // products of bytes; else fp32
  bool shared = true;  // by all threads; else by the caller alone
};

// A kernel that was set up to run. Each of `prepare`, `read` and `run` may be called any number of times.
struct Case {
  Work work;
  // Largest error over its bound, in a fresh run. 0: right.
  std::function<double()> error_over_bound;
  // Reads plainly, by the same threads, what the kernel reads and writes, where it lies then. Returns the
  // bytes.
  std::function<double()> read;
  std::function<void()> run;
  std::function<void()> prepare = [] {};  // before each: puts inputs back that a run changes
};

template <class Fn>
double seconds(Fn&& fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Each name is checked once, whatever the number of repetitions.
inline bool is_right(benchmark::State& state, Machine& machine, const std::string& name, const Case& kernel) {
  static std::map<std::string, double> errors;
  const auto [found, is_new] = errors.try_emplace(name, 0.0);
  if (is_new) found->second = kernel.error_over_bound();
  if (found->second == 0.0) return true;
  machine.failed = true;
  state.SkipWithError(fmt::format("the result is wrong: {:.3g} of its bound", found->second).c_str());
  return false;
}

// The reported time is the mean of the kernel; rates and share are those of the best rounds. The limit is the
// longer of two times: to read as many bytes, to compute as many operations. The label says which it is.
inline void check_and_time(benchmark::State& state, Machine& machine, const std::string& name,
                           const Case& kernel) {
  if (!is_right(state, machine, name, kernel)) return;
  const Work& work = kernel.work;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double best = kInfinity, read_rate = 0.0, compute_rate = 0.0;
  for ([[maybe_unused]] auto round : state) {
    kernel.prepare();
    double amount = 0.0;
    const double read_time = seconds([&] { amount = kernel.read(); });
    read_rate = std::max(read_rate, amount / read_time);
    const double compute_time = seconds([&] { amount = machine.compute(work.int8, work.shared); });
    compute_rate = std::max(compute_rate, amount / compute_time);
    kernel.prepare();
    const double time = seconds(kernel.run);
    best = std::min(best, time);
    state.SetIterationTime(time);
  }
  const double to_read = work.bytes / read_rate, to_compute = work.operations / compute_rate;
  const char* const unit = work.int8 ? "GOP/s" : "GFLOP/s";
  state.counters["GB/s"] = work.bytes / best / 1e9;
  state.counters["read GB/s"] = read_rate / 1e9;
  if (work.operations > 0.0) {
    state.counters[unit] = work.operations / best / 1e9;
    state.counters[fmt::format("peak {}", unit)] = compute_rate / 1e9;
    state.counters["% of peak"] = 100.0 * to_compute / best;
  }
  state.counters["% of limit"] = 100.0 * std::max(to_read, to_compute) / best;
  state.SetLabel(to_read > to_compute ? "bound by reading" : "bound by computing");
}

// make() sets the kernel up, when its turn comes.
template <class Make>
void add(Machine& machine, const std::string& name, Make make) {
  benchmark::RegisterBenchmark(
      name.c_str(),
      [&machine, name, make](benchmark::State& state) { check_and_time(state, machine, name, make()); })
      ->Iterations(kRounds)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

// One file each.
void add_products(Machine& machine);
void add_inner_loops(Machine& machine);
void add_inner_loop_parts(Machine& machine);
void add_row_kernels(Machine& machine);
void add_convolutions(Machine& machine);
void add_head_kernels(Machine& machine);
void add_state_copies(Machine& machine);

}  // namespace ttt::bench
