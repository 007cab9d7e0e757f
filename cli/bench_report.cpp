// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <span>
#include <string_view>

#include "cli/readable.h"

namespace ttt::cli {
namespace {

// A field of a CSV line.
std::string field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char character : text) quoted.append(character == '"' ? 2 : 1, character);
  return quoted + '"';
}

// The change of a straight line through the points from the first x to the last, as a share of its value at
// the first. REQUIRES: ascending x.
double change_of_line(std::span<const double> x, std::span<const double> y) {
  const auto count = static_cast<double>(x.size());
  const double mean_x = std::accumulate(x.begin(), x.end(), 0.0) / count;
  const double mean_y = std::accumulate(y.begin(), y.end(), 0.0) / count;
  double products = 0.0, squares = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    products += (x[i] - mean_x) * (y[i] - mean_y);
    squares += (x[i] - mean_x) * (x[i] - mean_x);
  }
  const double slope = products / squares;
  return slope * (x.back() - x.front()) / (mean_y + slope * (x.front() - mean_x));
}

// The bytes' times at the rates at which the machine read meanwhile; at its best where those are unknown.
std::vector<double> read_times(const BenchReport& report, const BenchRow& row) {
  if (row.read_rates.empty()) return {row.bytes / report.limits.read_bytes_per_second};
  std::vector<double> seconds;
  for (const double rate : row.read_rates) seconds.push_back(row.bytes / rate);
  return seconds;
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// The lines above the table.
std::string markdown_head(const BenchReport& report) {
  const BackendInfo& backend = report.backend;
  std::string text =
      fmt::format("model    {}: {}, {} parameters, {}; ready after {}\nmachine  {}\n", report.model,
                  report.family, readable_count(report.parameters), report.precision,
                  readable_seconds(report.load_seconds), describe_machine(report));
  if (report.has_limits()) {
    text += fmt::format("limits   {}, {}between the rows (best)\n", describe_limits(report),
                        report.computes_on_processors() ? "by the same threads " : "");
  }
  return text +
         fmt::format("memory   weights {}, state {} per sequence, workspace {}, whole process {} at most\n\n",
                     readable_bytes(backend.weights_bytes), readable_bytes(backend.slot_bytes),
                     readable_bytes(backend.workspace_bytes), readable_bytes(report.peak_memory_bytes));
}

}  // namespace

std::vector<Flatness> flatness(const BenchReport& report) {
  std::set<std::size_t> batches;
  for (const BenchRow& row : report.rows) batches.insert(row.batch);
  std::vector<Flatness> all;
  for (const std::size_t batch : batches) {
    std::vector<const BenchRow*> rows;  // ascending in depth, as they were measured
    for (const BenchRow& row : report.rows) {
      if (row.kind == BenchRow::Kind::kDecode && row.batch == batch && row.depth > 0) rows.push_back(&row);
    }
    if (rows.size() < 2 || rows.front()->seconds.size() < 2) continue;
    std::vector<double> depths, changes;
    for (const BenchRow* const row : rows) depths.push_back(static_cast<double>(row->depth));
    for (std::size_t round = 0; round < rows.front()->seconds.size(); ++round) {
      std::vector<double> times;
      for (const BenchRow* const row : rows) times.push_back(row->seconds[round]);
      changes.push_back(change_of_line(depths, times));
    }
    all.push_back({.batch = batch,
                   .from = rows.front()->depth,
                   .to = rows.back()->depth,
                   .rounds = changes.size(),
                   .change = mean_interval(changes)});
  }
  return all;
}

double BenchReport::seconds_to_read(const BenchRow& row) const { return mean_of(read_times(*this, row)); }

double BenchReport::seconds_to_compute(const BenchRow& row) const {
  return (row.flops - row.product_ops) / best_rate(inner_loop) + row.product_ops / best_rate(products);
}

std::optional<double> BenchReport::share_of_limit(const BenchRow& row) const {
  if (!has_limits()) return std::nullopt;
  std::vector<double> least = read_times(*this, row);
  for (double& seconds : least) seconds = std::max(seconds, seconds_to_compute(row));
  return mean_of(least) / row.mean_seconds();
}

double BenchReport::best_rate(Arithmetic arithmetic) const {
  switch (arithmetic) {
    case Arithmetic::kInt8:
      return limits.int8_ops_per_second;
    case Arithmetic::kHalf:
      return limits.half_flops_per_second;
    case Arithmetic::kFp32:
      break;
  }
  return limits.flops_per_second;
}

std::vector<std::string> column_names() {
  return {"test", "depth", "batch",       "tokens/s", "sd",         "ms/step",  "p50",
          "p90",  "p99",   "first token", "to read",  "to compute", "of limit", "others"};
}

std::vector<std::string> cells_of(const BenchReport& report, const BenchRow& row) {
  const bool decodes = row.kind == BenchRow::Kind::kDecode;
  const auto milliseconds = [&](double seconds) {
    return decodes ? fmt::format("{:.2f}", seconds * 1e3) : std::string();
  };
  const auto step = [&](double share) { return milliseconds(decodes ? row.percentile_step(share) : 0.0); };
  const std::optional<double> share_of_limit = report.share_of_limit(row);
  const auto least = [&](double seconds) {
    return decodes ? milliseconds(seconds / static_cast<double>(row.tokens)) : readable_seconds(seconds);
  };
  return {fmt::format("{} {}", decodes ? "decode" : "prefill", row.tokens),
          fmt::format("{}", row.depth),
          fmt::format("{}", row.batch),
          fmt::format("{:.1f}", row.rate()),
          fmt::format("{:.1f}", row.deviation()),
          milliseconds(row.time_per_token()),
          step(0.5),
          step(0.9),
          step(0.99),
          decodes ? std::string() : readable_seconds(row.mean_seconds()),
          share_of_limit && decodes ? least(report.seconds_to_read(row)) : std::string(),
          share_of_limit ? least(report.seconds_to_compute(row)) : std::string(),
          share_of_limit ? fmt::format("{:.0f} %", *share_of_limit * 100.0) : std::string(),
          fmt::format("{:.0f} %{}", row.others * 100.0, row.disturbed() ? " !" : "")};
}

std::string describe_machine(const BenchReport& report) {
  const BackendInfo& backend = report.backend;
  const std::string where =
      report.computes_on_processors()
          ? fmt::format(", {} threads on {} processors", backend.num_threads, report.processors)
          : fmt::format(" ({})", backend.device);
  return fmt::format("{}{}, kernels for {}", backend.device_name, where, backend.dispatch_target);
}

std::string describe_limits(const BenchReport& report) {
  std::string text =
      fmt::format("read {:.1f} GB/s, {:.1f} GFLOP/s fp32", report.limits.read_bytes_per_second * 1e-9,
                  report.limits.flops_per_second * 1e-9);
  if (const double rate = report.limits.int8_ops_per_second; rate > 0.0) {
    text += fmt::format(", {:.1f} GOP/s int8", rate * 1e-9);
  }
  if (const double rate = report.limits.half_flops_per_second; rate > 0.0) {
    text += fmt::format(", {:.1f} TFLOP/s in 16 bits", rate * 1e-12);
  }
  return text;
}

std::string to_markdown(const BenchReport& report) {
  std::string text = markdown_head(report);
  const std::vector<std::string> names = column_names();
  text += fmt::format("| {} |\n|---|", fmt::join(names, " | "));
  for (std::size_t i = 1; i < names.size(); ++i) text += "---:|";
  text += "\n";
  for (const BenchRow& row : report.rows) {
    text += fmt::format("| {} |\n", fmt::join(cells_of(report, row), " | "));
  }
  for (const Flatness& flat : flatness(report)) {
    text += fmt::format(
        "\nbatch {}: from depth {} to {} the time of a token changes by {:+.1f} % (95 %: {:+.1f} to {:+.1f}; "
        "{} "
        "rounds)\n",
        flat.batch, flat.from, flat.to, flat.change.mean * 100.0, flat.change.low * 100.0,
        flat.change.high * 100.0, flat.rounds);
  }
  const bool any_disturbed = std::ranges::any_of(report.rows, &BenchRow::disturbed);
  if (any_disturbed) text += "\n! Other programs took more than 5 % of the processors: measure again.\n";
  return text;
}

double BenchRow::mean_seconds() const { return mean_of(seconds); }

double BenchRow::rate() const { return static_cast<double>(tokens * batch) / mean_seconds(); }

double BenchRow::deviation() const {
  if (seconds.size() < 2) return 0.0;
  double sum = 0.0;
  for (const double time : seconds) {
    const double difference = static_cast<double>(tokens * batch) / time - rate();
    sum += difference * difference;
  }
  return std::sqrt(sum / static_cast<double>(seconds.size() - 1));
}

double BenchRow::time_per_token() const { return mean_seconds() / static_cast<double>(tokens); }

double BenchRow::percentile_step(double share) const {
  std::vector<double> sorted = step_seconds;
  std::ranges::sort(sorted);
  const auto last = static_cast<double>(sorted.size() - 1);
  return sorted[static_cast<std::size_t>(std::lround(share * last))];
}

std::string to_csv(const BenchReport& report) {
  std::string text =
      "time,model,family,precision,threads,test,tokens,depth,batch,tokens_per_second,tokens_per_second_sd,"
      "mean_ms,p50_ms,p90_ms,p99_ms,read_ms,compute_ms,share_of_limit,processors_taken_by_others\n";
  const std::string threads =
      report.computes_on_processors() ? fmt::format("{}", report.backend.num_threads) : std::string();
  for (const BenchRow& row : report.rows) {
    const bool decodes = row.kind == BenchRow::Kind::kDecode;
    const auto step = [&](double share) {
      return decodes ? fmt::format("{:.4f}", row.percentile_step(share) * 1e3) : std::string();
    };
    const double mean = decodes ? row.time_per_token() : row.mean_seconds();
    const std::optional<double> share = report.share_of_limit(row);
    const auto least = [&](double seconds) {
      return share ? fmt::format("{:.4f}", seconds * 1e3 / (decodes ? static_cast<double>(row.tokens) : 1.0))
                   : std::string();
    };
    text += fmt::format("{},{},{},{},{},{},{},{},{},{:.4f},{:.4f},{:.4f},{},{},{},{},{},{},{:.4f}\n",
                        report.time, field(report.model), report.family, report.precision, threads,
                        decodes ? "decode" : "prefill", row.tokens, row.depth, row.batch, row.rate(),
                        row.deviation(), mean * 1e3, step(0.5), step(0.9), step(0.99),
                        least(report.seconds_to_read(row)), least(report.seconds_to_compute(row)),
                        share ? fmt::format("{:.4f}", *share) : std::string(), row.others);
  }
  return text;
}

}  // namespace ttt::cli
