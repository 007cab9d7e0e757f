// SPDX-License-Identifier: Apache-2.0
#include "cli/load_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <utility>

#include "cli/readable.h"

namespace ttt::cli {
namespace {

constexpr double kMilliseconds = 1000.0;

bool is_good(const LoadOutcome& outcome, const Goodput& goodput) {
  const auto keeps = [](const std::optional<double>& limit, double seconds) {
    return !limit || seconds * kMilliseconds <= *limit;
  };
  return keeps(goodput.ttft, outcome.time_to_first_token()) &&
         keeps(goodput.tpot, outcome.time_per_token().value_or(0.0)) &&
         keeps(goodput.e2el, outcome.latency());
}

std::string row(const char* name, const LoadStatistics& values, const std::vector<double>& percentiles) {
  std::string line = fmt::format("| {} | {:.2f} | {:.2f} |", name, values.mean, values.deviation);
  for (const double percent : percentiles) line += fmt::format(" {:.2f} |", values.percentile(percent));
  return line + fmt::format(" {:.2f} |\n", values.max);
}

}  // namespace

std::optional<double> LoadOutcome::time_per_token() const {
  if (output_tokens < 2) return std::nullopt;
  return (last_token - first_token) / static_cast<double>(output_tokens - 1);
}

double LoadStatistics::percentile(double percent) const {
  if (sorted.empty()) return 0.0;
  const double place = percent / 100.0 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - std::floor(place));
}

LoadStatistics statistics(std::vector<double> milliseconds) {
  LoadStatistics result;
  if (milliseconds.empty()) return result;
  std::ranges::sort(milliseconds);
  const auto count = static_cast<double>(milliseconds.size());
  result.mean = std::accumulate(milliseconds.begin(), milliseconds.end(), 0.0) / count;
  double squares = 0.0;
  for (const double value : milliseconds) squares += (value - result.mean) * (value - result.mean);
  result.deviation = std::sqrt(squares / count);
  result.max = milliseconds.back();
  result.sorted = std::move(milliseconds);
  return result;
}

std::size_t LoadReport::failed() const {
  std::size_t count = 0;
  for (const auto& [error, times] : errors) count += times;
  return count;
}

void summarise(std::span<const LoadOutcome> outcomes, LoadReport& report) {
  std::vector<double> ttft, tpot, itl, e2el;
  for (const LoadOutcome& outcome : outcomes) {
    report.max_lag = std::max(report.max_lag, outcome.sent - outcome.planned);
    if (!outcome.ok()) {
      ++report.errors[outcome.error];
      continue;
    }
    ++report.completed;
    report.prompt_tokens += outcome.prompt_tokens;
    report.output_tokens += outcome.output_tokens;
    if (is_good(outcome, report.goodput)) ++report.good;
    ttft.push_back(outcome.time_to_first_token() * kMilliseconds);
    e2el.push_back(outcome.latency() * kMilliseconds);
    if (const auto time = outcome.time_per_token()) tpot.push_back(*time * kMilliseconds);
    std::ranges::transform(outcome.gaps, std::back_inserter(itl), [](double s) { return s * kMilliseconds; });
  }
  report.ttft = statistics(std::move(ttft));
  report.tpot = statistics(std::move(tpot));
  report.itl = statistics(std::move(itl));
  report.e2el = statistics(std::move(e2el));
}

std::string to_markdown(const LoadReport& report) {
  const auto rate = [&](std::uint64_t count) { return report.per_second(static_cast<double>(count)); };
  std::string text = fmt::format("{} at {}, ", report.model, report.url);
  text += report.rate > 0.0 ? fmt::format("{} requests/s (burstiness {})", report.rate, report.burstiness)
                            : std::string("each client sends when it was answered");
  if (report.concurrency > 0) text += fmt::format(", {} at once at most", report.concurrency);
  text += fmt::format(", seed {}\n", report.seed);
  if (report.interrupted) text += "ended early by a signal: what was running is not counted\n";
  text += fmt::format("{} requests answered and {} failed in {}: {:.2f} requests/s\n", report.completed,
                      report.failed(), readable_seconds(report.seconds), rate(report.completed));
  text += fmt::format("{} tokens of prompts, {:.1f} tokens/s; {} tokens of answers, {:.1f} tokens/s\n",
                      report.prompt_tokens, rate(report.prompt_tokens), report.output_tokens,
                      rate(report.output_tokens));
  if (report.goodput.is_set()) {
    text += fmt::format("{} requests within the goodput limits: {:.2f} requests/s\n", report.good,
                        rate(report.good));
  }
  if (report.max_lag > 0.01) {
    text +=
        fmt::format("a request was sent up to {:.0f} ms after its time{}\n", report.max_lag * kMilliseconds,
                    report.concurrency > 0 ? ", as so many were running" : ": this client was too slow");
  }
  for (const auto& [error, times] : report.errors) text += fmt::format("failed {} x: {}\n", times, error);
  text += "\n| milliseconds | mean | sd |";
  for (const double percent : report.percentiles) text += fmt::format(" p{} |", percent);
  text += " max |\n|---|" + std::string("---|---|");
  for (std::size_t i = 0; i < report.percentiles.size(); ++i) text += "---|";
  text += "---|\n";
  text += row("to the first token", report.ttft, report.percentiles);
  text += row("per token after it", report.tpot, report.percentiles);
  text += row("between tokens", report.itl, report.percentiles);
  text += row("whole answer", report.e2el, report.percentiles);
  return text;
}

}  // namespace ttt::cli
