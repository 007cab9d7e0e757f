// SPDX-License-Identifier: Apache-2.0
// The report of `ttt bench` as a page to look at: one file that needs no network and no script.
#pragma once

#include <string>

#include "cli/bench_report.h"

namespace ttt::cli {

// Charts as SVG (time of a token against the depth, prompt tokens per second against their number; dashed,
// what the machine could do at best) above the table. `before`: an earlier report drawn beside it, or null.
std::string to_html(const BenchReport& report, const BenchReport* before);

}  // namespace ttt::cli
