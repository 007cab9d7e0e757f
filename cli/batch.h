// SPDX-License-Identifier: Apache-2.0
// `ttt run --batch`: answers every line of a file, many at once, so that an interrupted run can go on. What a
// line may say: cli/batch_request.h.
#pragma once

#include <cstdint>
#include <string>

#include "cli/batch_request.h"
#include "cli/run.h"
#include "engine/request_error.h"

namespace ttt::cli {

// What a record says about its line.
struct BatchKey {
  std::uint64_t line = 0;  // from 1
  // XXH3-64 of the line's bytes, of the first kMaxBatchLineBytes of one that is longer; 16 lower-case digits.
  std::string input_hash;
  server::CallerId id = nullptr;
};

// Records are written when a line is answered, in that order. Returns the exit code. REQUIRES:
// options.batch.input.
int run_batch(const RunOptions& options);

}  // namespace ttt::cli
