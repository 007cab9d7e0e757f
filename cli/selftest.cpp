// SPDX-License-Identifier: Apache-2.0
#include "cli/selftest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <utility>

#include "cli/demo.h"
#include "cli/exit_code.h"
#include "cli/json_output.h"
#include "cli/selftest_files.h"
#include "cli/selftest_oracle.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"

namespace ttt::cli {
namespace {

using Clock = std::chrono::steady_clock;

// Largest error over rms. On x86-64 the random models stay within 2e-6 (logits) and 5e-6 (state); ten times
// that leaves room for kernels that round in another order. A model from outside may amplify roundings.
constexpr double kLogitsBound = 2e-5, kStateBound = 5e-5, kGivenModelBound = 1e-4;
// With quantised weights a CPU rounds inputs of products to 8 bits, half a percent of each product: within
// 0.08 and 0.14. Twice that is far below what a wrong scale, offset or block would do.
constexpr double kQuantisedLogitsBound = 0.15, kQuantisedStateBound = 0.3;
// What float64 is asked for takes a few seconds at most.
constexpr double kMaxFloat64Work = 2e9;  // parameters times tokens
constexpr std::size_t kMaxTokens = 160;
constexpr std::size_t kLossTokens = 200;
constexpr double kSecondsForChecks = 40.0, kSecondsForLoss = 10.0;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::size_t parameters_of(const Model& model) {
  std::size_t sum = 0;
  for (const NamedTensor& tensor : list_tensors(model)) sum += *weights::num_elements(tensor.view.shape);
  return sum;
}

// Three mini-batches and a part of one.
std::size_t wanted_tokens(const ModelConfig& config) {
  return std::min(3 * config.mini_batch_size + 5, kMaxTokens);
}

struct Speed {
  double tokens_per_second = 0.0;  // one by one
  std::size_t threads = 0;
};

Speed measure_speed(const Model& model, const BackendFactory& factory, std::span<const TokenId> tokens) {
  constexpr std::size_t kTimed = 2;
  const auto backend = factory(model, {.slots = 1, .tokens = 1, .logits_rows = 1}, 0);
  backend->reset(0);
  const auto read = [&](std::size_t position) {
    check_interrupted();
    Segment segment;
    segment.position = static_cast<std::int64_t>(position);
    segment.tokens = tokens.subspan(position, 1);
    segment.wanted.logits = Rows::kLast;
    const std::array batch = {segment};
    backend->submit(batch);
    backend->wait();
  };
  read(0);  // fetches the weights from the disk
  const auto begin = Clock::now();
  for (std::size_t i = 0; i < kTimed; ++i) read(1 + i);
  return {.tokens_per_second = static_cast<double>(kTimed) / std::max(1e-9, seconds_since(begin)),
          .threads = backend->info().num_threads};
}

// A prompt token is read some 16 times by BackendChecks, once by a single thread; a generated one 8 times.
// Where a model is too slow for all tokens, a prefix is read once, so that those that are left end a
// mini-batch.
Effort effort_for(const Speed& speed, const ModelConfig& config, std::size_t available) {
  constexpr double kReads = 16.0, kReadsOfGenerated = 8.0;
  constexpr std::size_t kFewest = 6, kMostGenerated = 12;
  const std::size_t all = std::min(wanted_tokens(config), available);
  const double reads = kReads + static_cast<double>(speed.threads) / 4.0 + kReadsOfGenerated / 3.0;
  const double affordable =
      std::clamp(kSecondsForChecks * speed.tokens_per_second / reads, static_cast<double>(kFewest), 1e6);
  Effort effort{.tokens = all};
  if (affordable < static_cast<double>(all)) {
    const auto several = static_cast<std::size_t>(affordable);
    effort.tokens = std::min(all, std::max(several, config.mini_batch_size + several / 2));
    effort.prefix = effort.tokens > several ? effort.tokens - several : 0;
  }
  effort.generated = std::clamp<std::size_t>((effort.tokens - effort.prefix) / 3, 2, kMostGenerated);
  return effort;
}

// For a check that needs a backend beside the first: memory that does not suffice for both is no fault.
Measured skip_without_memory(const std::function<Measured()>& measure) {
  try {
    return measure();
  } catch (const MemoryError& error) {
    return Measured::skip(error.what());
  }
}

// The target whose kernels a backend runs.
std::string target_of(const BackendFactory& factory) {
  const RandomModelCase random_case = random_model_cases().front();
  const RandomModel random(random_case.config, random_case.matrix_type, 1);
  return factory(random.model, {.slots = 1, .tokens = 1, .logits_rows = 1}, 0)->info().dispatch_target;
}

std::string line_of(const SelftestCheck& check) {
  return fmt::format("{}  {:<13} {:<20} {:>7.3f} s  {}\n", to_string(check.status), check.subject, check.name,
                     check.seconds, text_of(check.measured));
}

std::string verdict_of(const SelftestReport& report) {
  const std::size_t skipped = report.count(CheckStatus::kSkip);
  const std::string skips = skipped == 0 ? "" : fmt::format(", {} skipped", skipped);
  if (report.passed()) {
    return fmt::format("PASSED: {} checks{}, {:.1f} s\n", report.count(CheckStatus::kPass), skips,
                       report.seconds);
  }
  const std::string model = report.model.empty() ? "" : " MODEL";
  return fmt::format(
      "FAILED: {} of {} checks{}, {:.1f} s. Where a line does not say what to do, report it with what ttt "
      "selftest{} --json and ttt doctor{} print.\n",
      report.count(CheckStatus::kFail), report.checks.size(), skips, report.seconds, model, model);
}

}  // namespace

std::string_view to_string(CheckStatus status) {
  return status == CheckStatus::kPass ? "PASS" : status == CheckStatus::kFail ? "FAIL" : "SKIP";
}

std::string text_of(const Measured& measured) {
  std::string text = measured.unit.empty() ? std::string()
                                           : fmt::format("{:.3g} {} (bound {:.3g})", measured.value,
                                                         measured.unit, measured.bound);
  if (!measured.note.empty()) text += fmt::format("{}{}", text.empty() ? "" : "; ", measured.note);
  return text;
}

std::size_t SelftestReport::count(CheckStatus status) const {
  return static_cast<std::size_t>(std::ranges::count(checks, status, &SelftestCheck::status));
}

Selftest::Selftest(BackendFactory factory, OnCheck on_check)
    : factory_(std::move(factory)), on_check_(std::move(on_check)) {}

void Selftest::check(const std::string& subject, const std::string& name,
                     const std::function<Measured()>& measure) {
  check_interrupted();
  SelftestCheck result{.subject = subject, .name = name};
  const auto fail = [&](const std::exception& error) {
    result.measured = {.note = error.what()};
    result.status = CheckStatus::kFail;
  };
  const auto begin = Clock::now();
  try {
    result.measured = measure();
    result.status = result.measured.skipped    ? CheckStatus::kSkip
                    : result.measured.passed() ? CheckStatus::kPass
                                               : CheckStatus::kFail;
  } catch (const std::runtime_error& error) {
    fail(error);
  } catch (const std::logic_error& error) {
    fail(error);
  }
  result.seconds = seconds_since(begin);
  checks_.push_back(std::move(result));
  on_check_(checks_.back());
}

void Selftest::check_backend(const std::string& subject, BackendChecks& checks) {
  check(subject, "chunking", [&] { return checks.chunking(); });
  check(subject, "batch isolation", [&] { return checks.batch_isolation(); });
  check(subject, "threads", [&] { return skip_without_memory([&] { return checks.threads(); }); });
  check(subject, "state round trip", [&] { return checks.state_round_trip(); });
  check(subject, "rewind", [&] { return checks.rewind(); });
  check(subject, "engine", [&] { return checks.engine(); });
}

void Selftest::check_random_model(const RandomModelCase& random_case) {
  const std::string& subject = random_case.name;
  const RandomModel random(random_case.config, random_case.matrix_type, 1);
  const std::size_t count = wanted_tokens(random_case.config);
  const std::vector<TokenId> tokens = RandomNumbers(2).tokens(count, random_case.config.vocab_size);
  std::optional<BackendChecks> checks;
  check(subject, "finite logits", [&] {
    checks.emplace(random.model, factory_, tokens, Effort{.tokens = count});
    return checks->finite_logits();
  });
  if (!checks) return;
  const bool is_float = is_float_model(random.model);
  check(subject, "logits vs float64",
        [&] { return checks->logits_against_float64(is_float ? kLogitsBound : kQuantisedLogitsBound); });
  check(subject, "state vs float64",
        [&] { return checks->state_against_float64(is_float ? kStateBound : kQuantisedStateBound); });
  check_backend(subject, *checks);
  check(subject, "file round trip", [&] { return gguf_round_trip(random); });
}

void Selftest::check_demo(const std::string& kind) {
  const std::string subject = "demo " + kind;
  std::string path;
  try {
    path = find_demo_model(kind);
  } catch (const std::runtime_error& error) {
    check(subject, "file", [&] { return Measured::skip(error.what()); });
    return;
  }
  std::optional<ModelFiles> files;
  check(subject, "file", [&] {
    files.emplace(path);
    return file_is_sound(*files);
  });
  if (!files) return;
  check(subject, "known weights", [&] { return demo_weights_known(kind, *files); });
  std::unique_ptr<Backend> backend;
  check(subject, "log-probability", [&] {
    backend = factory_(files->model, {}, 0);
    return demo_mean_log_prob(kind, *files, *backend);
  });
  if (!backend) return;
  check(subject, "greedy text", [&] { return demo_greedy_text(kind, *files, *backend); });
}

void Selftest::check_install() {
  for (const RandomModelCase& random_case : random_model_cases()) check_random_model(random_case);
  for (const char* kind : {"linear", "mlp"}) check_demo(kind);
}

void Selftest::check_model(const ModelFiles& files) {
  const std::string subject = "model";
  const Model& model = files.model;
  check(subject, "file", [&] { return file_is_sound(files); });
  check(subject, "memory", [&] { return fits_into_memory(files); });
  check(subject, "tokenizer", [&] { return tokenizer_round_trip(files); });

  std::vector<TokenId> tokens = english_ids(files, wanted_tokens(model.config));
  Speed speed;
  std::optional<BackendChecks> checks;
  Effort effort;
  check(subject, "finite logits", [&] {
    speed = measure_speed(model, factory_, tokens);
    effort = effort_for(speed, model.config, tokens.size());
    tokens.resize(effort.tokens);
    checks.emplace(model, factory_, tokens, effort);
    Measured measured = checks->finite_logits();
    if (effort.prefix > 0) measured.note += fmt::format(", {} of them read once", effort.prefix);
    measured.note += fmt::format("; {:.1f} tokens/s one by one", speed.tokens_per_second);
    return measured;
  });
  if (!checks) return;
  for (const bool logits : {true, false}) {
    check(subject, logits ? "logits vs float64" : "state vs float64", [&] {
      const double work = static_cast<double>(parameters_of(model)) * static_cast<double>(tokens.size());
      if (!is_float_model(model)) return Measured::skip("the weights are quantised");
      if (work > kMaxFloat64Work || effort.prefix > 0) return Measured::skip("the model is too large for it");
      return logits ? checks->logits_against_float64(kGivenModelBound)
                    : checks->state_against_float64(kGivenModelBound);
    });
  }
  check_backend(subject, *checks);
  check(subject, "mean loss", [&] {
    const auto count = static_cast<std::size_t>(
        std::clamp(kSecondsForLoss * speed.tokens_per_second, 16.0, 1.0 * kLossTokens));
    return skip_without_memory([&] { return mean_loss(files, *factory_(model, {}, 0), count); });
  });
}

int selftest(const SelftestOptions& options) {
  if (options.model.precision == "fast") {
    throw UsageError("--precision fast: the bounds of this test are those of exact computation");
  }
  check_device(options.model);
  const auto begin = Clock::now();
  std::optional<ModelFiles> files;
  if (!options.model.model.empty()) files.emplace(options.model.model, file_access(options.model));
  const auto factory = [&](const Model& model, const BackendLimits& limits, std::int64_t threads) {
    ModelOptions backend_options = options.model;
    backend_options.precision = "exact";
    if (threads > 0) backend_options.threads = threads;
    if (!files || &model != &files->model) backend_options.packed_cache.clear();  // random weights
    return make_backend(model, backend_options, limits);
  };
  SelftestReport report{.version = describe_version(), .model = options.model.model};
  report.version.dispatch_target = target_of(factory);
  if (!options.json) {
    const VersionInfo& version = report.version;
    write_stdout(fmt::format("ttt {} ({}), kernels for {}, on {}, {} processors\n", version.version,
                             version.commit, version.dispatch_target, version.processor, version.processors));
  }
  Selftest run(factory, [&](const SelftestCheck& check) {
    if (!options.json) write_stdout(line_of(check));
  });
  run.check_install();
  if (files) run.check_model(*files);
  report.checks = run.checks();
  report.seconds = seconds_since(begin);
  write_stdout(options.json ? to_json(report) : verdict_of(report));
  return report.passed() ? kOk : kRuntimeError;
}

}  // namespace ttt::cli
