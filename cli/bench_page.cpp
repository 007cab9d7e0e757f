// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "cli/bench_comparison.h"
#include "cli/readable.h"

namespace ttt::cli {
namespace {

constexpr std::string_view kHead = R"(<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #6a7078; --rule: #d9dce0; --page: #fff;
  --c0: #2563b0; --c1: #c2571a; --c2: #2c7d4f; --c3: #8a3fa0; --c4: #a08200; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e7e9; --soft: #9aa1a9; --rule: #3a3f45; --page: #17191c;
    --c0: #6ea8ee; --c1: #f0955a; --c2: #66c08f; --c3: #c98ade; --c4: #d9bd4a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0; } h2 { font-size: 1rem; margin: 2rem 0 .3rem; }
p { margin: .3rem 0; } .soft, figcaption { color: var(--soft); }
figure { margin: 0; } svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 12px; }
.rule { stroke: var(--rule); } .line { fill: none; stroke-width: 2; } .limit { stroke-dasharray: 3 5; }
.before { opacity: .45; } .table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 500; }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin: 0 .3rem 0 .8rem; }
</style>
)";

std::string html(std::string_view text) {
  std::string out;
  for (const char character : text) {
    switch (character) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += character;
    }
  }
  return out;
}

std::string color(std::size_t index) { return fmt::format("var(--c{})", index % 5); }

struct Series {
  enum class Style { kMeasured, kLimit, kBefore };
  std::string name;
  std::size_t color = 0;
  Style style = Style::kMeasured;
  std::vector<std::optional<double>> values;  // one for each label of the chart
};

struct Chart {
  std::string title, unit;
  std::vector<std::string> labels;  // along x, equally far apart
  std::vector<Series> series;
};

// The next of 1, 2, 5, 10, 20, ... so that four steps of it reach `largest`.
double grid_step(double largest) {
  const double power = std::pow(10.0, std::floor(std::log10(largest / 4.0)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (4.0 * factor * power >= largest) return factor * power;
  }
  return 10.0 * power;
}

class Drawing {
 public:
  explicit Drawing(const Chart& chart) : chart_(chart) {
    double largest = 0.0;
    for (const Series& series : chart.series) {
      for (const auto& value : series.values) largest = std::max(largest, value.value_or(0.0));
    }
    step_ = grid_step(largest);
  }

  std::string svg() {
    out_ = fmt::format("<figure><svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n", kWidth,
                       kHeight, html(chart_.title));
    draw_axes();
    for (const Series& series : chart_.series) draw(series);
    out_ += "</svg><figcaption>";
    for (const Series& series : chart_.series) {
      if (series.style != Series::Style::kMeasured) continue;
      out_ += fmt::format("<span class=\"key\" style=\"background:{}\"></span>{}", color(series.color),
                          html(series.name));
    }
    return out_ + "</figcaption></figure>\n";
  }

 private:
  static constexpr int kWidth = 760, kHeight = 300, kLeft = 60, kRight = 20, kTop = 12, kBottom = 30;

  double x(std::size_t index) const {
    const auto steps = static_cast<double>(std::max<std::size_t>(chart_.labels.size(), 2) - 1);
    return kLeft + 20 + (kWidth - kLeft - kRight - 40) * static_cast<double>(index) / steps;
  }
  double y(double value) const {
    return kHeight - kBottom - (kHeight - kTop - kBottom) * value / (4 * step_);
  }

  void draw_axes() {
    for (int line = 0; line <= 4; ++line) {
      const double value = line * step_;
      out_ += fmt::format(
          "<line class=\"rule\" x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/>"
          "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5:g}</text>\n",
          kLeft, kWidth - kRight, y(value), kLeft - 8, y(value) + 4, value);
    }
    for (std::size_t i = 0; i < chart_.labels.size(); ++i) {
      out_ += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", x(i), kHeight - 8,
                          chart_.labels[i]);
    }
  }

  void draw(const Series& series) {
    std::string points;
    for (std::size_t i = 0; i < series.values.size(); ++i) {
      if (series.values[i]) points += fmt::format("{:.1f},{:.1f} ", x(i), y(*series.values[i]));
    }
    const char* const style = series.style == Series::Style::kLimit    ? " limit"
                              : series.style == Series::Style::kBefore ? " before"
                                                                       : "";
    out_ += fmt::format("<polyline class=\"line{}\" stroke=\"{}\" points=\"{}\"/>\n", style,
                        color(series.color), points);
    if (series.style == Series::Style::kLimit) return;
    for (std::size_t i = 0; i < series.values.size(); ++i) {
      if (!series.values[i]) continue;
      out_ += fmt::format(
          "<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\"><title>{}, {}: "
          "{:.4g} {}</title></circle>\n",
          style, x(i), y(*series.values[i]), color(series.color), html(series.name), chart_.labels[i],
          *series.values[i], chart_.unit);
    }
  }

  const Chart& chart_;
  double step_ = 1.0;
  std::string out_;
};

std::string short_count(std::size_t count) {
  return count >= 1024 && count % 1024 == 0 ? fmt::format("{}k", count / 1024) : fmt::format("{}", count);
}

// A measured series, its limit and the earlier one, where there are such. `value(row)` is what is drawn,
// `best(row, share)` what the limit allows where the row reaches that share of it.
template <typename Value, typename Best>
void add_series(Chart& chart, const std::string& name, std::size_t color,
                const std::vector<const BenchRow*>& rows, const BenchReport& report,
                const BenchReport* before, Value value, Best best) {
  Series measured{.name = name, .color = color, .style = Series::Style::kMeasured, .values = {}};
  Series limit{.name = name + ", limit", .color = color, .style = Series::Style::kLimit, .values = {}};
  Series earlier{.name = name + ", before", .color = color, .style = Series::Style::kBefore, .values = {}};
  for (const BenchRow* const row : rows) {
    measured.values.emplace_back(value(*row));
    if (const auto share = report.share_of_limit(*row)) limit.values.emplace_back(best(*row, *share));
    const auto change = before == nullptr ? std::nullopt : change_since(*before, *row);
    earlier.values.push_back(change ? std::optional(value(*change->before)) : std::nullopt);
  }
  if (before != nullptr) chart.series.push_back(std::move(earlier));
  if (report.has_limits()) chart.series.push_back(std::move(limit));
  chart.series.push_back(std::move(measured));
}

const char* legend_of_limit(const BenchReport& report) {
  return report.has_limits() ? "; dashed: what the machine could do at best" : "";
}

std::string decode_chart(const BenchReport& report, const BenchReport* before) {
  std::set<std::size_t> depths, batches;
  for (const BenchRow& row : report.rows) {
    if (row.kind != BenchRow::Kind::kDecode) continue;
    depths.insert(row.depth);
    batches.insert(row.batch);
  }
  if (depths.empty()) return {};
  Chart chart{
      .title = "Time of a step against what was read before", .unit = "ms", .labels = {}, .series = {}};
  for (const std::size_t depth : depths) chart.labels.push_back(short_count(depth));
  const auto milliseconds = [](const BenchRow& row) { return row.time_per_token() * 1e3; };
  std::size_t color = 0;
  for (const std::size_t batch : batches) {
    std::vector<const BenchRow*> rows;
    for (const BenchRow& row : report.rows) {
      if (row.kind == BenchRow::Kind::kDecode && row.batch == batch) rows.push_back(&row);
    }
    const std::string name = batch == 1 ? "1 sequence" : fmt::format("{} sequences at once", batch);
    add_series(chart, name, color++, rows, report, before, milliseconds,
               [&](const BenchRow& row, double share) { return milliseconds(row) * share; });
  }
  return fmt::format("<h2>{}</h2><p class=\"soft\">ms a step{}</p>\n{}", chart.title, legend_of_limit(report),
                     Drawing(chart).svg());
}

std::string prefill_chart(const BenchReport& report, const BenchReport* before) {
  std::vector<const BenchRow*> rows;
  Chart chart{
      .title = "Reading a prompt, against its length", .unit = "tokens/s", .labels = {}, .series = {}};
  for (const BenchRow& row : report.rows) {
    if (row.kind != BenchRow::Kind::kPrefill) continue;
    rows.push_back(&row);
    chart.labels.push_back(short_count(row.tokens));
  }
  if (rows.empty()) return {};
  const auto rate = [](const BenchRow& row) { return row.rate(); };
  add_series(chart, "prompt tokens a second", 0, rows, report, before, rate,
             [&](const BenchRow& row, double share) { return row.rate() / share; });
  return fmt::format("<h2>{}</h2><p class=\"soft\">tokens a second{}</p>\n{}", chart.title,
                     legend_of_limit(report), Drawing(chart).svg());
}

std::string table(const BenchReport& report, const BenchReport* before) {
  std::vector<std::string> names = column_names();
  if (before != nullptr) names.insert(names.end(), {"time changes by", "95 %"});
  std::string text = fmt::format("<h2>All rows</h2>\n<div class=\"table\"><table><tr><th>{}</tr>\n",
                                 fmt::join(names, "<th>"));
  for (const BenchRow& row : report.rows) {
    std::vector<std::string> cells = cells_of(report, row);
    if (before != nullptr) {
      const std::vector<std::string> change = cells_of(change_since(*before, row));
      cells.insert(cells.end(), change.begin(), change.end());
    }
    text += fmt::format("<tr><td>{}</tr>\n", fmt::join(cells, "<td>"));
  }
  return text + "</table></div>\n";
}

}  // namespace

std::string to_html(const BenchReport& report, const BenchReport* before) {
  const BackendInfo& backend = report.backend;
  std::string page(kHead);
  page += fmt::format(
      "<title>{0}: ttt bench</title>\n<h1>{0}</h1>\n<p>{1}, {2} parameters, {3}</p>\n"
      "<p>{4}; {5}</p>\n<p class=\"soft\">",
      html(report.model), report.family, readable_count(report.parameters), report.precision,
      html(describe_machine(report)), report.time);
  if (report.has_limits()) {
    page += fmt::format("The machine at best: {}. ", describe_limits(report));
  }
  page += fmt::format("Memory: weights {}, state {} for each sequence, whole process {}.</p>\n",
                      readable_bytes(backend.weights_bytes), readable_bytes(backend.slot_bytes),
                      readable_bytes(report.peak_memory_bytes));
  if (before != nullptr) {
    page += fmt::format("<p>Pale: the report of {}. {}</p>\n", html(before->time),
                        html(difference_of_setting(*before, report)));
  }
  page += decode_chart(report, before);
  for (const Flatness& flat : flatness(report)) {
    page += fmt::format(
        "<p>{}: from {} to {} tokens read, the time of a step changes by <b>{:+.1f} %</b> (95 %: {:+.1f} to "
        "{:+.1f}, {} rounds).</p>\n",
        flat.batch == 1 ? "1 sequence" : fmt::format("{} sequences", flat.batch), flat.from, flat.to,
        flat.change.mean * 100.0, flat.change.low * 100.0, flat.change.high * 100.0, flat.rounds);
  }
  return page + prefill_chart(report, before) + table(report, before) + "</html>\n";
}

}  // namespace ttt::cli
