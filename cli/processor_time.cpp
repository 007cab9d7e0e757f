// SPDX-License-Identifier: Apache-2.0
#include "cli/processor_time.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <utility>

namespace ttt::cli {
namespace {

double own_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

ProcessorTime::ProcessorTime(std::string root) : root_(std::move(root)) { start(); }

void ProcessorTime::start() { start_ = read(); }

// The line "cpu user nice system idle iowait irq softirq steal ..." of /proc/stat, in clock ticks.
std::optional<ProcessorTime::Reading> ProcessorTime::read() const {
  std::ifstream file(root_ + "/proc/stat");
  std::string name;
  std::array<double, 8> ticks{};
  if (!(file >> name) || name != "cpu") return std::nullopt;
  for (double& value : ticks) {
    if (!(file >> value)) return std::nullopt;
  }
  const double per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  Reading reading;
  for (std::size_t i = 0; i < ticks.size(); ++i) {
    const bool idle = i == 3 || i == 4;
    reading.total += ticks[i] / per_second;
    if (!idle) reading.busy += ticks[i] / per_second;
  }
  reading.own = own_seconds();
  return reading;
}

double ProcessorTime::taken_by_others() const {
  const std::optional<Reading> end = read();
  if (!start_ || !end || end->total <= start_->total) return 0.0;
  const double others = (end->busy - start_->busy) - (end->own - start_->own);
  return std::clamp(others / (end->total - start_->total), 0.0, 1.0);
}

}  // namespace ttt::cli
