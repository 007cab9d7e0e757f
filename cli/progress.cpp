// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.h"

#include <fmt/format.h>

#include <cstdio>
#include <utility>

#include "cli/readable.h"
#include "cli/standard_streams.h"

namespace ttt::cli {
namespace {

constexpr std::chrono::seconds kQuietTime(1);
constexpr std::chrono::milliseconds kRedrawTime(100);

}  // namespace

Progress::Progress(std::string what, Unit unit)
    : what_(std::move(what)),
      unit_(unit),
      enabled_(stderr_is_terminal()),
      begin_(Clock::now()),
      next_(begin_ + kQuietTime) {}

Progress::~Progress() { clear(); }

void Progress::update(std::uint64_t done, std::uint64_t total) {
  if (!enabled_) return;
  const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
  show(progress_line(what_, unit_, done, total, seconds));
}

void Progress::show(std::string_view line) {
  const Clock::time_point now = Clock::now();
  if (!enabled_ || now < next_) return;
  next_ = now + kRedrawTime;
  drawn_ = true;
  fmt::print(stderr, "\r\x1b[K{}", line);
  std::fflush(stderr);
}

void Progress::clear() {
  if (!std::exchange(drawn_, false)) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
}

std::string progress_line(const std::string& what, Progress::Unit unit, std::uint64_t done,
                          std::uint64_t total, double seconds) {
  const bool is_bytes = unit == Progress::Unit::kBytes;
  const double rate = seconds > 0.0 ? static_cast<double>(done) / seconds : 0.0;
  const auto amount = [&](std::uint64_t value) {
    return is_bytes ? readable_bytes(value) : readable_count(value) + " tokens";
  };
  const double percent = total > 0 ? 100.0 * static_cast<double>(done) / static_cast<double>(total) : 100.0;
  const double left = rate > 0.0 ? static_cast<double>(total - done) / rate : 0.0;
  return fmt::format("{}: {:.0f}%, {} of {}, {}/s, {} left", what, percent,
                     is_bytes ? readable_bytes(done) : readable_count(done), amount(total),
                     amount(static_cast<std::uint64_t>(rate)), readable_seconds(left));
}

}  // namespace ttt::cli
