// SPDX-License-Identifier: Apache-2.0
#include "cli/readable.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string_view>

namespace ttt::cli {
namespace {

// Three significant digits of `value` in its largest unit; a unit is `step` times the one before.
template <std::size_t N>
std::string in_units(std::uint64_t value, double step, const std::array<std::string_view, N>& units) {
  double scaled = static_cast<double>(value);
  std::size_t unit = 0;
  for (; scaled >= step - 0.5 && unit + 1 < N; ++unit) scaled /= step;
  if (unit == 0) return fmt::format("{}{}", value, units[0]);
  return fmt::format("{:.{}f}{}", scaled, scaled < 9.995 ? 2 : scaled < 99.95 ? 1 : 0, units[unit]);
}

}  // namespace

std::string readable_bytes(std::uint64_t bytes) {
  return in_units<5>(bytes, 1000.0, {" bytes", " kB", " MB", " GB", " TB"});
}

std::string readable_memory(std::uint64_t bytes) {
  return in_units<5>(bytes, 1024.0, {" bytes", " KiB", " MiB", " GiB", " TiB"});
}

std::string readable_count(std::uint64_t count) { return in_units<4>(count, 1000.0, {"", "k", "M", "B"}); }

std::string readable_seconds(double seconds) {
  if (seconds < 9.995) return fmt::format("{:.2f} s", seconds);
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{:.1f} s", seconds);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\\') {
      result += "\\\\";
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result.push_back(c);
    }
  }
  return result;
}

}  // namespace ttt::cli
