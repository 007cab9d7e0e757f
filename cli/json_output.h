// SPDX-License-Identifier: Apache-2.0
// The results of commands as JSON, one object and a newline: what --json prints. Every object names its
// version of the schema; fields are added within a version, never renamed or removed.
#pragma once

#include <string>

#include "cli/batch.h"
#include "cli/bench_report.h"
#include "cli/doctor.h"
#include "cli/eval_ppl.h"
#include "cli/info.h"
#include "cli/load_plan.h"
#include "cli/load_report.h"
#include "cli/quantize.h"
#include "cli/run.h"
#include "cli/selftest.h"
#include "cli/tokenize.h"
#include "cli/version.h"

namespace ttt::cli {

// `tokenizer` names the tokens of log-probabilities; null: ids alone.
std::string to_json(const RunResult& result, const tokenizer::Tokenizer* tokenizer);
std::string to_json(const BenchReport& report);
std::string to_json_lines(const BenchReport& report);  // a line for each row, to append to a log
std::string to_json(const QuantizeReport& report);
std::string to_json(const TokenizeResult& result);
std::string to_json(const PplResult& result);
std::string to_json(const Snapshot& snapshot, const std::string& path);
std::string to_json(const ModelInfo& info, bool with_tensors);
std::string to_json(const DeviceList& list);
std::string to_json(const VersionInfo& info);
std::string to_json(const DoctorReport& report);
std::string to_json(const SelftestReport& report);
// With the key names of vLLM's `bench serve`.
std::string to_json(const LoadReport& report);

// The body of a streamed completion for the load test; `text`, if there is one, in place of the ids.
std::string load_request_json(const std::string& model, const PlannedRequest& request,
                              const std::string* text, bool ignore_eos);

// Records of a batch: on one line.
std::string to_json_line(const BatchKey& key, const RunResult& result, const tokenizer::Tokenizer* tokenizer);
std::string to_json_line(const BatchKey& key, const RequestError& error);

}  // namespace ttt::cli
