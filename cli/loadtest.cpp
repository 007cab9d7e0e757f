// SPDX-License-Identifier: Apache-2.0
#include "cli/loadtest.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <sstream>
#include <utility>
#include <vector>

#include "cli/exit_code.h"
#include "cli/json_output.h"
#include "cli/load_client.h"
#include "cli/parse_value.h"
#include "cli/progress.h"
#include "cli/readable.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"

namespace ttt::cli {
namespace {

constexpr std::int64_t kMaxLength = std::int64_t{1} << 24;  // tokens of a prompt or an answer
constexpr std::int64_t kUsualVocabSize = 256;               // ids that every model has

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  std::istringstream file(read_input(path));
  for (std::string line; std::getline(file, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

std::vector<double> parse_percentiles(std::string_view text) {
  std::vector<double> percentiles;
  for (const std::string_view part : split(text, ',')) {
    const auto value = parse_number(part);
    if (!value || *value < 0.0 || *value > 100.0) {
      throw UsageError(
          fmt::format("--percentiles: wanted numbers from 0 to 100 with commas, found {}", escaped(text)));
    }
    percentiles.push_back(*value);
  }
  return percentiles;
}

LoadTarget target_of(const LoadtestOptions& options) {
  LoadTarget target{.url = api_url(options.url), .socket = options.socket, .timeout = options.timeout};
  if (options.api_key_file) {
    std::vector<std::string> keys = lines_of(*options.api_key_file);
    std::erase_if(keys,
                  [](const std::string& line) { return line.starts_with('#'); });  // as `ttt serve` reads it
    if (keys.empty()) throw UsageError(fmt::format("{} has no key in it", *options.api_key_file));
    target.api_key = keys.front();
  }
  if (options.model) target.model = *options.model;
  return target;
}

LoadShape shape_of(const LoadtestOptions& options) {
  LoadShape shape{.rate = options.rate, .burstiness = options.burstiness};
  shape.prompt = parse_length("--input-len", options.prompt_length);
  shape.output = parse_length("--output-len", options.output_length);
  shape.vocab_size = options.vocab_size;
  shape.seed = static_cast<std::uint64_t>(options.seed);
  return shape;
}

LoadLimits limits_of(const LoadtestOptions& options) {
  constexpr std::size_t kUsualRequests = 64, kUsualConcurrency = 8;
  LoadLimits limits{.requests = static_cast<std::size_t>(options.requests),
                    .seconds = options.duration,
                    .concurrency = static_cast<std::size_t>(options.concurrency)};
  if (limits.requests == 0 && limits.seconds == 0.0) limits.requests = kUsualRequests;
  if (limits.concurrency == 0 && options.rate == 0.0) limits.concurrency = kUsualConcurrency;
  return limits;
}

// What the server says of itself fills in what the options leave open.
void ask_server(LoadTarget& target, LoadShape& shape) {
  if (target.model.empty() || shape.vocab_size == 0) {
    try {
      const ListedModel model = first_model(target);
      if (target.model.empty()) target.model = model.name;
      if (shape.vocab_size == 0) shape.vocab_size = model.vocab_size.value_or(kUsualVocabSize);
    } catch (const LoadError&) {
      if (target.model.empty()) throw;  // else the server may just not list its models
    }
  }
  if (shape.vocab_size == 0) shape.vocab_size = kUsualVocabSize;
  if (shape.vocab_size <= LoadPlan::kFirstId) {
    throw UsageError(fmt::format("--vocab: wanted more than {} ids", LoadPlan::kFirstId));
  }
}

// Requests before the test: the first of them tells whether there is anything to measure.
void warm_up(const LoadClient& client, LoadShape shape, std::int64_t requests) {
  if (requests == 0) return;
  shape.rate = 0.0;
  ++shape.seed;
  LoadPlan plan(shape);
  const LoadLimits limits{.requests = static_cast<std::size_t>(requests), .concurrency = 1};
  const LoadClient::Result result = client.run(plan, limits, [](std::size_t, std::size_t) {});
  check_interrupted();
  if (!result.outcomes.front().ok()) {
    throw LoadError(
        fmt::format("the first request failed, so nothing is measured: {}", result.outcomes.front().error));
  }
}

}  // namespace

LoadShape::Range parse_length(std::string_view option, std::string_view text) {
  const std::size_t dash = text.find('-');
  const auto min = parse_integer(text.substr(0, dash));
  const auto max = dash == std::string_view::npos ? min : parse_integer(text.substr(dash + 1));
  if (!min || !max || *min < 1 || *max < *min || *max > kMaxLength) {
    throw UsageError(fmt::format("{}: wanted a length or MIN-MAX, from 1 to {} tokens, found {}", option,
                                 kMaxLength, escaped(text)));
  }
  return {.min = *min, .max = *max};
}

Goodput parse_goodput(std::string_view text) {
  Goodput goodput;
  if (text.empty()) return goodput;
  for (const std::string_view part : split(text, ',')) {
    const std::size_t colon = part.find(':');
    const std::string_view name = part.substr(0, colon);
    const double value =
        colon == std::string_view::npos ? -1.0 : parse_number(part.substr(colon + 1)).value_or(-1.0);
    std::optional<double>* const limit = name == "ttft"   ? &goodput.ttft
                                         : name == "tpot" ? &goodput.tpot
                                         : name == "e2el" ? &goodput.e2el
                                                          : nullptr;
    if (limit == nullptr || value < 0.0) {
      throw UsageError(fmt::format(
          "--goodput: wanted milliseconds as in ttft:200,tpot:50,e2el:2000, found {}", escaped(part)));
    }
    *limit = value;
  }
  return goodput;
}

int loadtest(const LoadtestOptions& options) {
  LoadTarget target = target_of(options);
  LoadShape shape = shape_of(options);
  const LoadLimits limits = limits_of(options);
  LoadReport report;
  report.percentiles = parse_percentiles(options.percentiles);
  report.goodput = parse_goodput(options.goodput);
  std::vector<std::string> texts;
  if (options.prompts) {
    texts = lines_of(*options.prompts);
    if (texts.empty()) throw UsageError(fmt::format("{} has no line with a prompt", *options.prompts));
  }
  ask_server(target, shape);
  const LoadClient client(target, [&](const PlannedRequest& request) {
    const std::string* const text = texts.empty() ? nullptr : &texts[request.index % texts.size()];
    return load_request_json(target.model, request, text, options.ignore_eos);
  });
  warm_up(client, shape, options.warmup);

  report.time = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  report.url = target.url;
  report.model = target.model;
  report.rate = shape.rate;
  report.burstiness = shape.burstiness;
  report.concurrency = limits.concurrency;
  report.seed = shape.seed;
  LoadPlan plan(shape);
  Progress progress("measuring", Progress::Unit::kTokens);
  const LoadClient::Result result = client.run(plan, limits, [&](std::size_t ended, std::size_t running) {
    const std::string total = limits.requests > 0 ? fmt::format(" of {}", limits.requests) : "";
    progress.show(fmt::format("{}{} requests answered, {} running", ended, total, running));
  });
  progress.clear();
  report.seconds = result.seconds;
  report.interrupted = result.interrupted;
  summarise(result.outcomes, report);
  write_stdout(options.output == "json" ? to_json(report) : to_markdown(report));
  if (report.interrupted) return interrupted_exit_code();
  return report.failed() > 0 ? kRuntimeError : kOk;
}

}  // namespace ttt::cli
