// SPDX-License-Identifier: Apache-2.0
// `ttt bench`: how fast a model reads and writes, against the depth and the batch, beside what the machine
// could do at best.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/open_model.h"
#include "engine/backend.h"
#include "engine/step_cost.h"

namespace ttt::cli {

struct BenchOptions {
  ModelOptions model;
  std::optional<std::string> random;  // an official size in place of a model
  std::string type = "f32";           // of its matrices
  std::optional<std::string> write;   // its .gguf file
  bool force = false;

  std::string prefill = "512";  // comma lists; 2k and 32K are understood; empty or 0: none
  std::string depth = "0";
  std::string batch = "1";
  std::int64_t decode = 64;  // tokens of each repetition; 0: none
  std::int64_t repetitions = 5;
  std::int64_t prefill_repetitions = 0;  // 0: as many as repetitions
  std::string output = "md";
};

// One line of the table.
struct BenchRow {
  enum class Kind : std::uint8_t { kPrefill, kDecode };
  Kind kind = Kind::kDecode;
  std::size_t tokens = 0;                 // read or written in a repetition, by each sequence
  std::size_t depth = 0;                  // tokens read before
  std::size_t batch = 1;                  // sequences at once
  std::vector<double> seconds = {};       // of each repetition
  std::vector<double> step_seconds = {};  // decode: of every step of all repetitions
  double bytes = 0.0, flops = 0.0;        // of a repetition, at least
  double product_ops = 0.0;               // those of flops that are in products with matrices
  double others = 0.0;                    // share of the processors that other programs took meanwhile

  double mean_seconds() const;
  double rate() const;                         // tokens/s of all sequences together
  double deviation() const;                    // of the rate over the repetitions
  double time_per_token() const;               // seconds: of a step
  double percentile_step(double share) const;  // seconds
  bool disturbed() const { return others > 0.05; }
};

struct BenchReport {
  std::string time;   // of the start, UTC, ISO 8601
  std::string model;  // "random 125m", or the file's name
  std::string family;
  std::string precision;
  std::uint64_t parameters = 0;
  BackendInfo backend;
  std::size_t processors = 0;          // of the machine
  double read_bytes_per_second = 0.0;  // the best of many readings between the repetitions
  double flops_per_second = 0.0;       // likewise
  double int8_ops_per_second = 0.0;    // likewise
  bool quantised = false;              // products are of 8-bit integers
  std::uint64_t matrix_bytes = 0;
  double state_traffic_bytes = 0.0;
  TokenFlops token_flops;
  double head_flops = 0.0;  // of one row of logits
  double load_seconds = 0.0;
  std::uint64_t peak_memory_bytes = 0;  // of the whole process
  std::vector<BenchRow> rows;

  // Of what the machine could do at best: the time to read the row's bytes or to do its operations.
  double share_of_limit(const BenchRow& row) const;
};

// Prints and returns the exit code. After a signal the rows that are complete are printed.
int bench(const BenchOptions& options);

// The report for people: a Markdown table under a few lines about model and machine.
std::string to_markdown(const BenchReport& report);

}  // namespace ttt::cli
