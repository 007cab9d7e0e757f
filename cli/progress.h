// SPDX-License-Identifier: Apache-2.0
// A line on the terminal for work that takes longer than a second; silent elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace ttt::cli {

class Progress {
 public:
  enum class Unit : std::uint8_t { kTokens, kBytes };

  // `what` begins the line: "reading the prompt".
  Progress(std::string what, Unit unit);
  ~Progress();  // wipes the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // At most ten lines a second are drawn.
  void update(std::uint64_t done, std::uint64_t total);
  // The same with a line of the caller's, for work without a known end.
  void show(std::string_view line);
  void clear();  // wipes the line; the next update draws it again

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  Unit unit_;
  bool enabled_;
  bool drawn_ = false;
  Clock::time_point begin_;
  Clock::time_point next_;
};

// "reading the prompt: 12%, 1.20k of 10.0k tokens, 431 tokens/s, 20.4 s left"
std::string progress_line(const std::string& what, Progress::Unit unit, std::uint64_t done,
                          std::uint64_t total, double seconds);

}  // namespace ttt::cli
