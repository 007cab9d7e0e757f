// SPDX-License-Identifier: Apache-2.0
// The figures of a load test, from what happened to each request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace ttt::cli {

// Times in seconds, from the start of the test.
struct LoadOutcome {
  double planned = 0.0;  // when it should have been sent
  double sent = 0.0;
  double first_token = 0.0;
  double last_token = 0.0;
  std::vector<double> gaps;  // between the arrivals of tokens, each in seconds
  std::size_t prompt_tokens = 0;
  std::size_t output_tokens = 0;
  std::string error;  // empty: answered to its end

  bool ok() const { return error.empty(); }
  double time_to_first_token() const { return first_token - sent; }
  double latency() const { return last_token - sent; }
  // After the first; none where there is one token alone.
  std::optional<double> time_per_token() const;
};

// Of one quantity, in milliseconds.
struct LoadStatistics {
  double mean = 0.0;
  double deviation = 0.0;  // of the population
  double max = 0.0;
  std::vector<double> sorted;
  // `percent` of the values are at most this, between two of them interpolated; 0 where there are none.
  double percentile(double percent) const;
};
LoadStatistics statistics(std::vector<double> milliseconds);

// A request is good if each limit that is set is kept.
struct Goodput {
  std::optional<double> ttft, tpot, e2el;  // milliseconds
  bool is_set() const { return ttft || tpot || e2el; }
};

struct LoadReport {
  std::string time;  // of the start, UTC, ISO 8601
  std::string url;
  std::string model;
  double rate = 0.0;  // asked for; 0: as fast as `concurrency` allows
  double burstiness = 1.0;
  std::size_t concurrency = 0;  // at most; 0: any
  std::uint64_t seed = 0;
  double seconds = 0.0;
  bool interrupted = false;
  std::vector<double> percentiles;
  Goodput goodput;

  std::size_t completed = 0;
  std::map<std::string, std::size_t> errors;  // how often each
  std::uint64_t prompt_tokens = 0;            // of what completed
  std::uint64_t output_tokens = 0;
  std::size_t good = 0;
  double max_lag = 0.0;  // seconds: sent later than planned; the client itself was too slow if this is large
  LoadStatistics ttft, tpot, itl, e2el;

  std::size_t failed() const;
  double per_second(double count) const { return seconds > 0.0 ? count / seconds : 0.0; }
};

// Fills in all that comes from `outcomes`.
void summarise(std::span<const LoadOutcome> outcomes, LoadReport& report);

std::string to_markdown(const LoadReport& report);

}  // namespace ttt::cli
