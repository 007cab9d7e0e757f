// SPDX-License-Identifier: Apache-2.0
// One line of `ttt run --batch`: a JSON object to a request. What it does not say comes from the command
// line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/open_model.h"
#include "cli/run.h"
#include "engine/request.h"
#include "server/completion_fields.h"

namespace ttt::cli {

struct BatchRequest {
  server::CallerId id = nullptr;
  GenerationRequest request;
  bool echo = false;
};

// Of a line that names no seed: a function of the run's seed and the line's number, so that a line has the
// same seed whichever run answers it. At most 2^53, which is exact as a JSON number.
std::uint64_t line_seed(std::uint64_t run_seed, std::uint64_t line);

inline constexpr std::size_t kMaxBatchLineBytes = std::size_t{64} << 20;
// In one record, which takes some 100 bytes for each: far below the longest that --resume reads (1 GiB).
inline constexpr std::size_t kMaxRecordLogProbs = std::size_t{1} << 22;

class BatchLineParser {
 public:
  // Throws UsageError for defaults that are not sound, as Engine::submit would for a line that adds none.
  BatchLineParser(const RunOptions& options, const ModelFiles& files, std::uint64_t run_seed);

  // Throws RequestError naming the field (none for what is no JSON object); `result.id` is set then too, if
  // the line's id was understood. `place` ("in.jsonl:3") begins the message about what is no JSON.
  // What Engine::submit checks is not checked here.
  void parse(std::string_view text, std::uint64_t line, std::string_view place, BatchRequest& result) const;

 private:
  std::vector<TokenId> encode(server::Prompt prompt) const;

  const ModelFiles& files_;
  const std::uint64_t run_seed_;
  GenerationRequest defaults_;  // without the ban of ignore_eos
  bool ignore_eos_;
  bool echo_;
  bool bos_;
  tokenizer::SpecialTokens special_;
};

}  // namespace ttt::cli
