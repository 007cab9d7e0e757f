// SPDX-License-Identifier: Apache-2.0
#include "cli/parse_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>

#include "cli/exit_code.h"

namespace ttt::cli {
namespace {

std::optional<std::int64_t> suffix_factor(char suffix) {
  switch (suffix) {
    case 'k':
      return 1'000;
    case 'K':
      return std::int64_t{1} << 10;
    case 'm':
      return 1'000'000;
    case 'M':
      return std::int64_t{1} << 20;
    case 'g':
      return 1'000'000'000;
    case 'G':
      return std::int64_t{1} << 30;
    default:
      return std::nullopt;
  }
}

// Insertions, deletions and substitutions that lead from a to b.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);  // distances from a's current prefix to every prefix of b
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || end - stop > 1) return std::nullopt;
  if (stop == end) return value;
  const auto factor = suffix_factor(*stop);
  std::int64_t product = 0;
  if (!factor || __builtin_mul_overflow(value, *factor, &product)) return std::nullopt;
  return product;
}

std::optional<double> parse_number(std::string_view text) {
  double value = 0.0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::optional<bool> parse_bool(std::string_view text) {
  constexpr std::array<std::string_view, 4> kTrue = {"true", "yes", "on", "1"};
  constexpr std::array<std::string_view, 4> kFalse = {"false", "no", "off", "0"};
  if (std::ranges::find(kTrue, text) != kTrue.end()) return true;
  if (std::ranges::find(kFalse, text) != kFalse.end()) return false;
  return std::nullopt;
}

std::vector<std::int32_t> parse_id_list(std::string_view text, std::int64_t vocab_size,
                                        std::string_view what) {
  constexpr std::string_view kSeparators = ", \t\r\n[]";
  std::vector<std::int32_t> ids;
  for (std::size_t begin = text.find_first_not_of(kSeparators); begin != std::string_view::npos;) {
    const std::size_t end = std::min(text.find_first_of(kSeparators, begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    std::int64_t id = 0;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error == std::errc::invalid_argument || stop != word.data() + word.size()) {
      throw UsageError(fmt::format("{}: wanted token ids such as 1,2,3; number {} in the list is '{}'", what,
                                   ids.size() + 1, word.substr(0, 40)));
    }
    if (error != std::errc() || id < 0 || id >= vocab_size) {
      throw UsageError(
          fmt::format("{}: id {} (number {} in the list) is outside the vocabulary, which has ids 0 to {}",
                      what, word.substr(0, 40), ids.size() + 1, vocab_size - 1));
    }
    ids.push_back(static_cast<std::int32_t>(id));
    begin = text.find_first_not_of(kSeparators, end);
  }
  if (ids.empty())
    throw UsageError(fmt::format("{}: the list of token ids is empty; give at least one", what));
  return ids;
}

std::optional<std::string> nearest(std::string_view text, std::span<const std::string> candidates) {
  std::optional<std::string> best;
  std::size_t best_distance = 1 + text.size() / 3;  // further away than this is another word
  for (const std::string& candidate : candidates) {
    // The beginning of a name counts as one slip.
    const bool is_beginning = text.size() >= 3 && std::string_view(candidate).starts_with(text);
    const std::size_t distance = is_beginning ? 1 : edit_distance(text, candidate);
    if (distance > best_distance || (best && distance == best_distance)) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

}  // namespace ttt::cli
