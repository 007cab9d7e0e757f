// SPDX-License-Identifier: Apache-2.0
// A bench beside an earlier one: what became slower or faster, and whether that is more than the spread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/bench_report.h"

namespace ttt::cli {

// Reads what `ttt bench -o json` wrote: time, model, device_name of the backend, and of each row its kind,
// tokens, depth, batch and seconds. Throws std::runtime_error naming the file and what it lacks.
BenchReport read_report(const std::string& path);

struct TimeChange {
  const BenchRow* before;  // of the earlier report
  // Of the time of a token, as a share of what it was; no more than the mean where either has one repetition.
  Interval change;
  bool has_interval = false;
};
// Nothing where the earlier report has no such row.
std::optional<TimeChange> change_since(const BenchReport& before, const BenchRow& row);

// "+1.2 %" and "-0.3 to +2.7", or what there is of it.
std::vector<std::string> cells_of(const std::optional<TimeChange>& change);

// A Markdown table, for people.
std::string compare_markdown(const BenchReport& before, const BenchReport& now);

// One line that says so if model or machine are not those of the earlier report; else nothing.
std::string difference_of_setting(const BenchReport& before, const BenchReport& now);

}  // namespace ttt::cli
