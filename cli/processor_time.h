// SPDX-License-Identifier: Apache-2.0
// How much of the machine other programs took while something was measured.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace ttt::cli {

class ProcessorTime {
 public:
  // `root` stands before /proc, for tests.
  explicit ProcessorTime(std::string root = "");
  void start();
  // Share of all processors' time since start() that neither this process used nor was idle; 0 where the
  // system does not say. What a hypervisor took away counts as taken by others.
  double taken_by_others() const;

 private:
  struct Reading {
    double busy = 0.0;   // seconds of all processors, steal included
    double own = 0.0;    // of this process
    double total = 0.0;  // busy and idle
  };
  std::optional<Reading> read() const;

  std::string root_;
  std::optional<Reading> start_;
};

}  // namespace ttt::cli
