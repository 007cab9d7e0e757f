// SPDX-License-Identifier: Apache-2.0
// `ttt loadtest`: how an OpenAI-style completion server does under load, whichever program it is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cli/load_plan.h"
#include "cli/load_report.h"

namespace ttt::cli {

struct LoadtestOptions {
  std::string url = "http://127.0.0.1:8080";
  std::optional<std::string> socket;
  std::optional<std::string> model;         // none: the first that the server lists
  std::optional<std::string> api_key_file;  // its first line
  std::int64_t requests = 0;                // 0: 64, or any number where a duration is given
  double duration = 0.0;                    // seconds; 0: until all requests are answered
  double rate = 0.0;                        // requests/s; 0: as fast as the concurrency allows
  double burstiness = 1.0;
  std::int64_t concurrency = 0;  // 0: 8, or any where a rate is given
  std::int64_t warmup = 1;
  std::string prompt_length = "512";  // tokens; "N" or "MIN-MAX"
  std::string output_length = "64";
  std::optional<std::string> prompts;  // a file with a text on each line, in place of random ids
  std::int64_t vocab_size = 0;         // 0: what the server tells, else 256
  bool ignore_eos = true;
  std::int64_t seed = 0;
  double timeout = 600.0;  // seconds, of a request
  std::string percentiles = "50,90,99";
  std::string goodput;  // "ttft:200,tpot:50,e2el:2000", in milliseconds
  std::string output = "md";
};

// Prints the report and returns the exit code: kRuntimeError if a request failed.
int loadtest(const LoadtestOptions& options);

// Both throw UsageError.
LoadShape::Range parse_length(std::string_view option, std::string_view text);
Goodput parse_goodput(std::string_view text);

}  // namespace ttt::cli
