// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <string_view>
#include <variant>

#include "cli/json_scalars.h"
#include "weights/checkpoint_error.h"
#include "weights/mapped_file.h"
#include "weights/strict_json.h"

namespace ttt::cli {
namespace {

using weights::JsonScalar;

constexpr std::size_t kMaxReportBytes = std::size_t{64} << 20;
constexpr std::string_view kRemedy = "Give a file that ttt bench -o json wrote.";

std::string text_of(const JsonScalar& value) {
  const auto* const text = std::get_if<std::string>(&value);
  return text == nullptr ? std::string() : *text;
}

std::size_t count_of(const JsonScalar& value) {
  const auto* const count = std::get_if<std::uint64_t>(&value);
  return count == nullptr ? 0 : static_cast<std::size_t>(*count);
}

double number_of(const JsonScalar& value) {
  if (const auto* const number = std::get_if<double>(&value)) return *number;
  return static_cast<double>(count_of(value));
}

// "rows.3.depth": the row, made where it is the next one, and "depth".
void take_row(std::vector<BenchRow>& rows, std::string_view path, const JsonScalar& value) {
  std::size_t index = 0;
  const char* const end = path.data() + path.size();
  const auto [rest, error] = std::from_chars(path.data(), end, index);
  if (error != std::errc() || rest == end || index > rows.size()) return;
  if (index == rows.size()) rows.emplace_back();
  BenchRow& row = rows[index];
  const std::string_view name(rest + 1, end);
  if (name == "test") {
    row.kind = text_of(value) == "prefill" ? BenchRow::Kind::kPrefill : BenchRow::Kind::kDecode;
  }
  if (name == "tokens") row.tokens = count_of(value);
  if (name == "depth") row.depth = count_of(value);
  if (name == "batch") row.batch = count_of(value);
  if (name.starts_with("seconds.")) row.seconds.push_back(number_of(value));
}

bool is_whole(const BenchRow& row) {
  return row.tokens > 0 && row.batch > 0 && !row.seconds.empty() &&
         std::ranges::all_of(row.seconds, [](double seconds) { return seconds > 0.0; });
}

// Of a token, in each repetition.
std::vector<double> token_times(const BenchRow& row) {
  std::vector<double> times = row.seconds;
  for (double& time : times) time /= static_cast<double>(row.tokens);
  return times;
}

}  // namespace

BenchReport read_report(const std::string& path) {
  BenchReport report;
  ScalarListener listener([&](std::string_view name, const JsonScalar& value) {
    constexpr std::string_view kRows = "rows.";
    if (name == "time") report.time = text_of(value);
    if (name == "model.name") report.model = text_of(value);
    if (name == "device.name") report.backend.device_name = text_of(value);
    if (name.starts_with(kRows)) take_row(report.rows, name.substr(kRows.size()), value);
  });
  try {
    const std::string text = weights::read_small_file(path, kMaxReportBytes);
    weights::parse_strict_json(text, path, listener, {.remedy = kRemedy});
  } catch (const weights::CheckpointError& error) {
    throw std::runtime_error(error.what());  // no fault of a model
  }
  if (report.rows.empty() || !std::ranges::all_of(report.rows, is_whole)) {
    throw std::runtime_error(fmt::format("{}: wanted rows with tokens, batch and seconds, found {}. {}", path,
                                         report.rows.empty() ? std::string("none") : "a row without them",
                                         kRemedy));
  }
  return report;
}

std::optional<TimeChange> change_since(const BenchReport& before, const BenchRow& row) {
  const auto same = std::ranges::find_if(before.rows, [&](const BenchRow& earlier) {
    // The cost of a token in decoding does not depend on how many were decoded.
    return earlier.kind == row.kind && earlier.depth == row.depth && earlier.batch == row.batch &&
           (row.kind == BenchRow::Kind::kDecode || earlier.tokens == row.tokens);
  });
  if (same == before.rows.end()) return std::nullopt;
  const std::vector<double> first = token_times(*same);
  const std::vector<double> second = token_times(row);
  TimeChange change{.before = &*same, .change = {}};
  change.has_interval = first.size() > 1 && second.size() > 1;
  const double difference = row.time_per_token() - same->time_per_token();
  change.change =
      change.has_interval ? difference_interval(first, second) : Interval{difference, difference, difference};
  for (double* const part : {&change.change.mean, &change.change.low, &change.change.high}) {
    *part /= same->time_per_token();
  }
  return change;
}

std::string difference_of_setting(const BenchReport& before, const BenchReport& now) {
  std::string text;
  if (before.model != now.model)
    text += fmt::format("The earlier report is of another model, {}. ", before.model);
  if (before.backend.device_name != now.backend.device_name) {
    text += fmt::format("The earlier report is of another machine, {}. ", before.backend.device_name);
  }
  return text;
}

std::vector<std::string> cells_of(const std::optional<TimeChange>& change) {
  if (!change) return {"", ""};
  const auto& [mean, low, high] = change->change;
  return {fmt::format("{:+.1f} %", mean * 100.0),
          change->has_interval ? fmt::format("{:+.1f} to {:+.1f}", low * 100.0, high * 100.0)
                               : std::string("one run")};
}

std::string compare_markdown(const BenchReport& before, const BenchReport& now) {
  std::string text = fmt::format("\ncompared with the report of {}\n", before.time);
  const std::string difference = difference_of_setting(before, now);
  if (!difference.empty()) text += difference + "\n";
  text +=
      "\n| test | depth | batch | ms a token before | now | time changes by | 95 % |\n"
      "|---|---:|---:|---:|---:|---:|---:|\n";
  for (const BenchRow& row : now.rows) {
    const auto change = change_since(before, row);
    if (!change) continue;
    text += fmt::format("| {} {} | {} | {} | {:.3f} | {:.3f} | {} |\n",
                        row.kind == BenchRow::Kind::kDecode ? "decode" : "prefill", row.tokens, row.depth,
                        row.batch, change->before->time_per_token() * 1e3, row.time_per_token() * 1e3,
                        fmt::join(cells_of(change), " | "));
  }
  return text;
}

}  // namespace ttt::cli
