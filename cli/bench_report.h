// SPDX-License-Identifier: Apache-2.0
// What `ttt bench` measured, its figures, and the report as text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/statistics.h"
#include "engine/backend.h"
#include "engine/machine_limits.h"
#include "engine/step_cost.h"

namespace ttt::cli {

// One line of the table.
struct BenchRow {
  enum class Kind : std::uint8_t { kPrefill, kDecode };
  Kind kind = Kind::kDecode;
  std::size_t tokens = 0;                 // read or written in a repetition, by each sequence
  std::size_t depth = 0;                  // tokens read before
  std::size_t batch = 1;                  // sequences at once
  std::vector<double> seconds = {};       // of each repetition
  std::vector<double> step_seconds = {};  // decode: of every step of all repetitions
  // Bytes a second of a plain read, of each repetition: the better reading of those right before and after
  // it.
  std::vector<double> read_rates = {};
  double bytes = 0.0, flops = 0.0;  // of a repetition, at least
  double product_ops = 0.0;         // those of flops that are in products with matrices
  double others = 0.0;              // share of the processors that other programs took meanwhile

  double mean_seconds() const;
  double rate() const;                         // tokens/s of all sequences together
  double deviation() const;                    // of the rate over the repetitions
  double time_per_token() const;               // seconds: of a step
  double percentile_step(double share) const;  // seconds
  bool disturbed() const { return others > 0.05; }
};

// What is multiplied, and so at which rate at best.
enum class Arithmetic : std::uint8_t { kFp32, kInt8, kHalf };

struct BenchReport {
  std::string time;   // of the start, UTC, ISO 8601
  std::string model;  // "random 125m", or the file's name
  std::string family;
  std::string precision;
  std::uint64_t parameters = 0;
  BackendInfo backend;
  std::size_t processors = 0;  // of the machine
  MachineLimits limits;        // the best of many readings between the repetitions
  Arithmetic products = Arithmetic::kFp32, inner_loop = Arithmetic::kFp32;
  std::uint64_t matrix_bytes = 0;
  double state_traffic_bytes = 0.0;
  TokenFlops token_flops;
  double head_flops = 0.0;  // of one row of logits
  double load_seconds = 0.0;
  std::uint64_t peak_memory_bytes = 0;  // of the whole process
  std::vector<BenchRow> rows;

  bool computes_on_processors() const { return backend.num_threads > 0; }
  double best_rate(Arithmetic arithmetic) const;
  bool has_limits() const {
    return limits.read_bytes_per_second > 0.0 && best_rate(products) > 0.0 && best_rate(inner_loop) > 0.0;
  }
  // Mean seconds of a repetition if it did nothing but read its bytes, or but compute. REQUIRES:
  // has_limits().
  double seconds_to_read(const BenchRow& row) const;
  double seconds_to_compute(const BenchRow& row) const;
  // Of what the machine could do at best: the longer of the two in each repetition.
  std::optional<double> share_of_limit(const BenchRow& row) const;
};

// How the time of a token changes from the shallowest depth above 0 to the deepest, as a share of the former:
// in each repetition a straight line through the times at all depths between.
struct Flatness {
  std::size_t batch = 1;
  std::size_t from = 0, to = 0;  // depths
  std::size_t rounds = 0;        // repetitions, in each of which all depths took their turn
  Interval change;
};
// For each batch with two depths above 0 or more, if there are two repetitions or more.
std::vector<Flatness> flatness(const BenchReport& report);

// The table for people: names of its columns, and the cells of a row.
std::vector<std::string> column_names();
std::vector<std::string> cells_of(const BenchReport& report, const BenchRow& row);

// What computed, and by which kernels: "AMD EPYC 7B13, 8 threads on 8 processors, kernels for AVX2".
std::string describe_machine(const BenchReport& report);

// "read 40.1 GB/s, 204.3 GFLOP/s fp32, 410.0 GOP/s int8": what was measured. REQUIRES: has_limits().
std::string describe_limits(const BenchReport& report);

// For people: a Markdown table under a few lines about model and machine.
std::string to_markdown(const BenchReport& report);
// One line for each row under a line of names; times in milliseconds.
std::string to_csv(const BenchReport& report);

}  // namespace ttt::cli
