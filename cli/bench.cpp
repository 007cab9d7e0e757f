// SPDX-License-Identifier: Apache-2.0
#include "cli/bench.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "cli/bench_comparison.h"
#include "cli/bench_page.h"
#include "cli/bench_report.h"
#include "cli/convert.h"
#include "cli/exit_code.h"
#include "cli/json_output.h"
#include "cli/machine.h"
#include "cli/parse_value.h"
#include "cli/processor_time.h"
#include "cli/progress.h"
#include "cli/readable.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "engine/random_weights.h"
#include "engine/state_layout.h"
#include "weights/block_types.h"

namespace ttt::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kMaxTokens = std::int64_t{1} << 40;
constexpr std::int64_t kMaxBatch = 4096;
// Of what a processor's probe reads, where a step reads more.
constexpr std::uint64_t kMaxProbeBytes = std::uint64_t{2} << 30;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// "512,2k,8k": ascending, each once.
std::vector<std::size_t> parse_counts(const std::string& list, std::int64_t min, std::int64_t max,
                                      const char* option) {
  std::vector<std::size_t> counts;
  for (std::size_t begin = 0; begin < list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    const auto value = parse_integer(list.substr(begin, end - begin));
    if (!value || *value < min || *value > max) {
      throw UsageError(
          fmt::format("{}: wanted integers from {} to {} with commas between (2k and 32K are "
                      "understood), found '{}'",
                      option, min, max, list));
    }
    counts.push_back(static_cast<std::size_t>(*value));
    begin = end + 1;
  }
  std::ranges::sort(counts);
  const auto repeated = std::ranges::unique(counts);
  counts.erase(repeated.begin(), repeated.end());
  return counts;
}

// Ids that differ from token to token and are the same in each run.
TokenId token_at(std::size_t position, std::size_t vocab_size) {
  return static_cast<TokenId>((position * 7919 + 17) % vocab_size);
}

// Drives one backend: prompts, snapshots, decoding.
class Driver {
 public:
  Driver(const Model& model, Backend& backend) : config_(model.config), backend_(backend) {}

  std::function<void(std::size_t tokens)> on_read;  // called after each step of a prompt

  // Reads a prompt from its beginning to `marks.back()` in slot 0; `at_mark(tokens, seconds)` is called where
  // a mark is reached and a token was sampled there, time running on outside of it.
  void prefill(std::span<const std::size_t> marks,
               const std::function<void(std::size_t tokens, double seconds)>& at_mark) {
    backend_.reset(0);
    double seconds = 0.0;
    std::size_t position = 0;
    std::vector<TokenId> tokens;
    for (const std::size_t mark : marks) {
      while (position < mark) {
        check_interrupted();
        const std::size_t count = std::min(mark - position, backend_.info().max_batch_tokens);
        tokens.clear();
        for (std::size_t i = 0; i < count; ++i) tokens.push_back(token_at(position + i, config_.vocab_size));
        Segment segment;
        segment.position = static_cast<std::int64_t>(position);
        segment.tokens = tokens;
        if (position + count == mark) segment.wanted.sample = &greedy_;
        const Clock::time_point begin = Clock::now();
        backend_.submit({&segment, 1});
        backend_.wait();
        seconds += seconds_since(begin);
        position += count;
        if (on_read) on_read(count);
      }
      at_mark(mark, seconds);
    }
  }

  std::vector<std::byte> snapshot(std::size_t position) const {
    std::vector<std::byte> bytes(state_bytes(config_, static_cast<std::int64_t>(position)));
    backend_.save(0, static_cast<std::int64_t>(position), bytes);
    return bytes;
  }

  // Decodes `count` tokens in each of `batch` slots from a snapshot; appends the time of every step.
  void decode(std::span<const std::byte> state, std::size_t position, std::size_t batch, std::size_t count,
              std::vector<double>& step_seconds) {
    std::vector<Segment> segments(batch);
    std::vector<TokenId> first(batch);
    for (std::size_t i = 0; i < batch; ++i) {
      first[i] = token_at(position + i, config_.vocab_size);  // strangers: each goes its own way
      segments[i].slot = static_cast<SlotId>(i);
      segments[i].position = static_cast<std::int64_t>(position);
      segments[i].tokens = std::span(first).subspan(i, 1);
      segments[i].wanted.sample = &greedy_;
      backend_.load(segments[i].slot, segments[i].position, state);
    }
    for (std::size_t step = 0; step < count; ++step) {
      check_interrupted();
      const Clock::time_point begin = Clock::now();
      backend_.submit(segments);
      backend_.wait();
      step_seconds.push_back(seconds_since(begin));
      for (Segment& segment : segments) {
        ++segment.position;
        segment.tokens = {};
        segment.token_from_last_sample = true;
      }
    }
  }

 private:
  const ModelConfig& config_;
  Backend& backend_;
  SamplingParams greedy_;
};

struct Plan {
  std::vector<std::size_t> prefills, depths, batches;
  std::size_t decode = 0;
  std::size_t repetitions = 0;
  std::size_t prefill_repetitions = 0;
};

Plan plan_of(const BenchOptions& options) {
  Plan plan;
  plan.prefills = parse_counts(options.prefill, 0, kMaxTokens, "--prefill");
  std::erase(plan.prefills, std::size_t{0});
  plan.depths = parse_counts(options.depth, 0, kMaxTokens, "--depth");
  plan.batches = parse_counts(options.batch, 1, kMaxBatch, "--batch-sizes");
  plan.decode = static_cast<std::size_t>(options.decode);
  if (plan.decode == 0) plan.depths.clear();
  if (plan.decode > 0 && (plan.depths.empty() || plan.batches.empty())) {
    throw UsageError("--decode needs a --depth and --batch-sizes");
  }
  plan.repetitions = static_cast<std::size_t>(options.repetitions);
  plan.prefill_repetitions = options.prefill_repetitions == 0
                                 ? plan.repetitions
                                 : static_cast<std::size_t>(options.prefill_repetitions);
  if (plan.prefills.empty() && plan.decode == 0)
    throw UsageError("nothing to measure: give --prefill or --decode");
  return plan;
}

// What a step of one sequence reads: a small model lies in the caches as much as the probe's buffer does. Not
// more than half of the memory that the model left.
std::uint64_t probe_bytes(const BenchReport& report) {
  const std::uint64_t step = report.matrix_bytes + static_cast<std::uint64_t>(report.state_traffic_bytes);
  const std::uint64_t usable = usable_memory(read_machine()).value_or(kMaxProbeBytes);
  return std::min({step, kMaxProbeBytes, usable / 2});
}

class Bench {
 public:
  Bench(const Plan& plan, Driver& driver, BenchReport& report)
      : plan_(plan),
        driver_(driver),
        report_(report),
        probe_(make_probe(report.backend, probe_bytes(report))),
        progress_("measuring", Progress::Unit::kTokens) {
    const std::size_t longest = plan_.prefills.empty() ? 0 : plan_.prefills.back();
    const std::size_t deepest = plan_.depths.empty() ? 0 : plan_.depths.back();
    total_ = std::max(longest, deepest) * (plan_.prefills.empty() ? 1 : plan_.prefill_repetitions);
    for (const std::size_t batch : plan_.batches) {
      total_ += batch * plan_.decode * (plan_.repetitions + 1) * plan_.depths.size();
    }
  }

  void run() {
    prefill();
    for (const std::size_t batch : plan_.batches) decode(batch);
  }

 private:
  // One pass reads through all lengths and depths: the cost of a token does not depend on what was read
  // before.
  void prefill() {
    std::vector<std::size_t> marks = plan_.prefills;
    marks.insert(marks.end(), plan_.depths.begin(), plan_.depths.end());
    std::ranges::sort(marks);
    const auto repeated = std::ranges::unique(marks);
    marks.erase(repeated.begin(), repeated.end());
    std::erase(marks, std::size_t{0});
    std::map<std::size_t, BenchRow> rows;  // by length
    for (const std::size_t tokens : plan_.prefills) {
      BenchRow& row = rows[tokens];
      row = {.kind = BenchRow::Kind::kPrefill, .tokens = tokens};
      row.flops = static_cast<double>(tokens) * report_.token_flops.sum() + report_.head_flops;
      row.product_ops = static_cast<double>(tokens) * report_.token_flops.products + report_.head_flops;
    }
    if (!marks.empty()) driver_.prefill({&marks.front(), 1}, [](std::size_t, double) {});  // warm-up
    driver_.on_read = [this](std::size_t tokens) { show(tokens); };
    const std::size_t passes = plan_.prefills.empty() ? 1 : plan_.prefill_repetitions;
    for (std::size_t pass = 0; pass < passes; ++pass) {
      const ProcessorTime processors;
      driver_.prefill({}, {});
      if (std::ranges::find(plan_.depths, 0U) != plan_.depths.end()) states_[0] = driver_.snapshot(0);
      driver_.prefill(marks, [&](std::size_t tokens, double seconds) {
        if (const auto row = rows.find(tokens); row != rows.end()) {
          row->second.seconds.push_back(seconds);
          row->second.others += processors.taken_by_others() / static_cast<double>(passes);
        }
        if (std::ranges::find(plan_.depths, tokens) != plan_.depths.end()) {
          states_[tokens] = driver_.snapshot(tokens);
        }
      });
      probe();
    }
    for (auto& [tokens, row] : rows) report_.rows.push_back(std::move(row));
  }

  // Depths take turns, so that a change in the machine's speed meets all of them.
  void decode(std::size_t batch) {
    std::vector<BenchRow> rows;
    for (const std::size_t depth : plan_.depths) {
      rows.push_back(
          {.kind = BenchRow::Kind::kDecode, .tokens = plan_.decode, .depth = depth, .batch = batch});
      const auto steps = static_cast<double>(plan_.decode);
      const auto sequences = static_cast<double>(batch);
      rows.back().bytes =
          steps * (static_cast<double>(report_.matrix_bytes) + sequences * report_.state_traffic_bytes);
      rows.back().flops = steps * sequences * (report_.token_flops.sum() + report_.head_flops);
      rows.back().product_ops = steps * sequences * (report_.token_flops.products + report_.head_flops);
    }
    double read_rate = probe();
    for (std::size_t repetition = 0; repetition <= plan_.repetitions; ++repetition) {
      for (std::size_t i = 0; i < rows.size(); ++i) {
        std::vector<double> steps;
        const ProcessorTime processors;
        driver_.decode(states_.at(rows[i].depth), rows[i].depth, batch, plan_.decode, steps);
        show(batch * plan_.decode);
        const double read_rate_before = std::exchange(read_rate, probe());
        if (repetition == 0) continue;  // warm-up
        if (probe_) rows[i].read_rates.push_back(std::max(read_rate_before, read_rate));
        rows[i].seconds.push_back(std::accumulate(steps.begin(), steps.end(), 0.0));
        rows[i].others += processors.taken_by_others() / static_cast<double>(plan_.repetitions);
        rows[i].step_seconds.insert(rows[i].step_seconds.end(), steps.begin(), steps.end());
      }
    }
    std::ranges::move(rows, std::back_inserter(report_.rows));
  }

  // Returns the rate at which memory was read; 0 where that is not known.
  double probe() {
    if (!probe_) return 0.0;
    const MachineLimits reading = probe_->measure();
    report_.limits = best_of(report_.limits, reading);
    return reading.read_bytes_per_second;
  }

  void show(std::size_t tokens) {
    done_ += tokens;
    progress_.update(std::min(done_, total_), total_);
  }

  const Plan& plan_;
  Driver& driver_;
  BenchReport& report_;
  std::unique_ptr<MachineProbe> probe_;  // null: the limits stay unknown
  Progress progress_;
  std::size_t done_ = 0;
  std::size_t total_ = 0;
  std::map<std::size_t, std::vector<std::byte>> states_;  // by depth
};

// Of this program alone: what getrusage tells begins with the memory of the process that it was forked from.
std::uint64_t peak_memory() {
  std::ifstream lines("/proc/self/status");
  constexpr std::string_view kKey = "VmHWM:";
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(kKey)) return std::stoull(line.substr(kKey.size())) * 1024;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

// What the backend multiplies.
void describe_arithmetic(const Model& model, const ModelOptions& options, BenchReport& report) {
  const bool on_gpu = !report.computes_on_processors();
  const bool rounds = on_gpu && rounds_operands(options);
  const bool quantised = weights::is_block_type(model.layers.front().attn_q.dtype);
  report.inner_loop = rounds ? Arithmetic::kHalf : Arithmetic::kFp32;
  report.products = quantised && !on_gpu ? Arithmetic::kInt8 : report.inner_loop;
  report.matrix_bytes = matrix_bytes(model, /*fp32_as_half=*/rounds);
}

void run_rows(const Plan& plan, const Model& model, const ModelOptions& options, Backend& backend,
              BenchReport& report) {
  const ModelConfig& config = model.config;
  report.family = config.is_mlp() ? "TTT-MLP" : "TTT-Linear";
  report.backend = backend.info();
  report.processors = std::thread::hardware_concurrency();
  for (const NamedTensor& tensor : list_tensors(model)) {
    report.parameters += *weights::num_elements(tensor.view.shape);
  }
  report.precision = weights::dtype_info(model.layers.front().attn_q.dtype).name;
  describe_arithmetic(model, options, report);
  report.state_traffic_bytes = state_traffic_bytes(config);
  report.token_flops = token_flops(config);
  report.head_flops = 2.0 * static_cast<double>(config.hidden_size * config.vocab_size);
  Driver driver(model, backend);
  Bench(plan, driver, report).run();
}

ModelConfig random_config(const std::string& size) {
  try {
    return official_config(size);
  } catch (const std::invalid_argument& error) {
    throw UsageError(fmt::format("--random: {}", error.what()));
  }
}

std::string text_of(const BenchReport& report, const BenchReport* before, const std::string& output) {
  if (output == "json") return to_json(report);
  if (output == "jsonl") return to_json_lines(report);
  if (output == "csv") return to_csv(report);
  if (output == "html") return to_html(report, before);
  return to_markdown(report) + (before == nullptr ? "" : compare_markdown(*before, report));
}

}  // namespace

int bench(const BenchOptions& options) {
  const Plan plan = plan_of(options);
  std::optional<BenchReport> before;
  if (options.compare) {
    if (options.output != "md" && options.output != "html") {
      throw UsageError("--compare is shown in the outputs md and html alone");
    }
    before = read_report(*options.compare);
  }
  if (options.random && !options.model.model.empty()) throw UsageError("give a model or --random, not both");
  if (options.random && !options.model.packed_cache.empty()) {
    throw UsageError("--packed-cache keeps the weights of a file; random ones are made anew each time");
  }
  const std::size_t slots = plan.decode == 0 ? 1 : plan.batches.back();
  const BackendLimits limits{.slots = slots, .tokens = std::max(BackendLimits().tokens, slots)};
  BenchReport report;
  report.time = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  bool whole = true;
  const auto measure = [&](const Model& model, Backend& backend) {
    try {
      run_rows(plan, model, options.model, backend, report);
    } catch (const Interrupted&) {
      whole = false;
    }
  };
  const Clock::time_point begin = Clock::now();
  if (options.random) {
    const ModelConfig config = random_config(*options.random);
    const weights::DType type = *weights::dtype_from_name(options.type);
    check_memory(RandomWeights::without_bytes(config, type), options.model, limits);
    if (options.write) check_output(*options.write, options.force);
    const RandomWeights random(config, type, /*seed=*/1);
    if (options.write) {
      write_gguf(random.model(), {}, nullptr, *options.write, {.matrices = type});
      return kOk;
    }
    const std::unique_ptr<Backend> backend = make_backend(random.model(), options.model, limits);
    report.model = random.model().config.name;
    report.load_seconds = seconds_since(begin);
    measure(random.model(), *backend);
  } else {
    OpenModel model(options.model, limits);
    report.model = std::filesystem::path(options.model.model).filename().string();
    report.load_seconds = seconds_since(begin);
    measure(model.files.model, *model.backend);
  }
  report.peak_memory_bytes = peak_memory();
  write_stdout(text_of(report, before ? &*before : nullptr, options.output));
  return whole ? static_cast<int>(kOk) : interrupted_exit_code();
}

}  // namespace ttt::cli
