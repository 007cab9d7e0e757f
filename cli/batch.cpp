// SPDX-License-Identifier: Apache-2.0
#include "cli/batch.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

#include "cli/batch_files.h"
#include "cli/exit_code.h"
#include "cli/generate.h"
#include "cli/json_output.h"
#include "cli/log.h"
#include "cli/progress.h"
#include "cli/readable.h"
#include "cli/sampling_options.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"

namespace ttt::cli {
namespace {

// Requests in the engine for each sequence that can run: enough that none waits for the input to be read.
constexpr std::size_t kRequestsPerSequence = 3;
// Lines that are read before answers are taken again: those that start nothing must not keep answers waiting.
constexpr std::size_t kLinesAtOnce = 64;

using Clock = std::chrono::steady_clock;

std::string hash_of(std::string_view line) {
  return fmt::format("{:016x}", XXH3_64bits(line.data(), line.size()));
}

BatchOutput::Mode mode_of(const BatchOptions& options) {
  if (options.resume && options.force) throw UsageError("give --resume or --force, not both");
  if (options.resume) return BatchOutput::Mode::kResume;
  return options.force ? BatchOutput::Mode::kReplace : BatchOutput::Mode::kNew;
}

std::string output_path(const BatchOptions& options) { return options.output.value_or("-"); }

// Before a model is opened.
void check_options(const RunOptions& options) {
  if (options.prompt || options.file || options.tokens || !options.positional_prompt.empty()) {
    throw UsageError("with --batch the prompts stand in its file: leave out -p, -f, --tokens and PROMPT");
  }
  if (options.sampling.timeout != 0.0) {
    throw UsageError("--timeout does not go with --batch: answers would depend on the machine's speed");
  }
  check_batch_output(output_path(options.batch), mode_of(options.batch));
}

std::size_t num_slots(const RunOptions& options) {
  return std::max(static_cast<std::size_t>(options.batch.parallel), num_sequences(options.sampling));
}

// The engine's name of a parameter is the line's but for two.
RequestError with_field_name(const RequestError& error) {
  if (error.parameter != "banned" && error.parameter != "allowed") return error;
  const std::string field = error.parameter + "_tokens";
  return {field, field + std::string(error.what()).substr(error.parameter.size())};
}

// Woken by the engine's thread after each event of any stream.
class Wake {
 public:
  void notify() {
    const std::lock_guard lock(mutex_);
    pending_ = true;
    changed_.notify_one();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kPollTime, [this] { return pending_; });
    pending_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool pending_ = false;
};

class Batch {
 public:
  // `input` and `output` are open. The records that are there have been read.
  Batch(const RunOptions& options, OpenModel& model, LineReader& reader, BatchOutput& output);
  ~Batch();

  int run();

 private:
  struct Running {
    BatchKey key;
    RunResult result;
    std::shared_ptr<TokenStream> stream;
  };
  struct Prepared {
    BatchKey key;
    BatchRequest request;
  };

  void answer_all();
  bool read_on();
  void take_line(const LineReader::Line& line);
  bool is_answered(const LineReader::Line& line, const std::string& input_hash) const;
  void submit_or_hold(Prepared prepared);
  bool submit(const Prepared& prepared);  // false: the queue is full
  void refuse(const BatchKey& key, const RequestError& error);
  void take_answers();
  void answer(Running& running);
  void append(const std::string& record);
  void check_input_is_complete() const;
  void show_progress();

  std::string place(std::uint64_t line) const { return fmt::format("{}:{}", reader_.name(), line); }
  std::string done_sentence() const;
  std::string timings_text() const;
  int exit_code();

  const RunOptions& options_;
  const tokenizer::Tokenizer* tokenizer_;
  LineReader& reader_;
  BatchOutput& output_;
  RecordedLines recorded_;
  BatchLineParser parser_;
  const std::size_t slots_;
  Wake wake_;  // outlives the engine, whose thread calls it
  Engine engine_;

  std::optional<Prepared> held_;  // the engine's queue was full
  std::list<Running> running_;
  bool stopping_ = false;  // reads no more lines
  std::uint64_t done_ = 0;
  std::uint64_t bad_ = 0;  // of them
  std::uint64_t prompt_tokens_ = 0, generated_tokens_ = 0;
  Clock::time_point begin_ = Clock::now();
  Progress progress_;
};

Batch::Batch(const RunOptions& options, OpenModel& model, LineReader& reader, BatchOutput& output)
    : options_(options),
      tokenizer_(model.files.tokenizer ? &*model.files.tokenizer : nullptr),
      reader_(reader),
      output_(output),
      recorded_(output.recorded()),
      parser_(options, model.files,
              options.sampling.seed ? static_cast<std::uint64_t>(*options.sampling.seed) : random_seed()),
      slots_(num_slots(options)),
      engine_(*model.backend, model.config(), tokenizer_),
      progress_("batch", Progress::Unit::kTokens) {
  done_ = recorded_.size();
  bad_ = static_cast<std::uint64_t>(
      std::ranges::count_if(recorded_, [](const auto& entry) { return entry.second.is_error; }));
  if (options.batch.resume) {
    log_info(fmt::format("{} holds the answers of {} lines", output.name(), recorded_.size()));
  }
}

Batch::~Batch() {
  for (const Running& running : running_) running.stream->set_wake(nullptr);
}

int Batch::run() {
  try {
    answer_all();
    check_input_is_complete();
    output_.sync();
  } catch (const Interrupted&) {
    // Below: a signal may also come after the last line.
  } catch (const std::system_error& error) {
    throw std::runtime_error(fmt::format("{}; {}", error.what(), done_sentence()));
  }
  progress_.clear();
  if (options_.timings) fmt::print(stderr, "{}", timings_text());
  return exit_code();
}

void Batch::answer_all() {
  while (true) {
    check_interrupted();
    const bool more = read_on();
    take_answers();
    if (running_.empty() && (stopping_ || (!held_ && reader_.ended()))) return;
    show_progress();
    if (!more && !running_.empty()) wake_.wait();
  }
}

// Keeps the engine's queue filled; waits for input only where nothing runs. True: more may be read at once.
bool Batch::read_on() {
  for (std::size_t lines = 0; lines < kLinesAtOnce; ++lines) {
    if (stopping_ || running_.size() >= kRequestsPerSequence * slots_) return false;
    if (held_) {
      submit_or_hold(*std::exchange(held_, std::nullopt));
      if (held_) return false;
      continue;
    }
    const auto line = running_.empty() ? reader_.next() : reader_.next_if_ready();
    if (!line) return false;
    take_line(*line);
    check_interrupted();
  }
  return true;
}

void Batch::take_line(const LineReader::Line& line) {
  if (line.text.find_first_not_of(" \t\r") == std::string::npos) return;
  Prepared prepared{{line.number, hash_of(line.text)}, {}};
  if (is_answered(line, prepared.key.input_hash)) return;
  try {
    if (line.too_long) {
      throw RequestError("", fmt::format("{}: wanted a line of at most {} MiB, found a longer one",
                                         place(line.number), kMaxBatchLineBytes >> 20));
    }
    try {
      parser_.parse(line.text, line.number, place(line.number), prepared.request);
    } catch (const RequestError&) {
      prepared.key.id = prepared.request.id;
      throw;
    }
    prepared.key.id = prepared.request.id;
  } catch (const RequestError& error) {
    return refuse(prepared.key, error);
  }
  submit_or_hold(std::move(prepared));
}

void Batch::submit_or_hold(Prepared prepared) {
  try {
    if (!submit(prepared)) held_ = std::move(prepared);
  } catch (const RequestError& error) {
    refuse(prepared.key, with_field_name(error));
  }
}

bool Batch::is_answered(const LineReader::Line& line, const std::string& input_hash) const {
  const auto recorded = recorded_.find(line.number);
  if (recorded == recorded_.end()) return false;
  if (recorded->second.input_hash == input_hash) return true;
  throw std::runtime_error(fmt::format(
      "{}: {} holds the answer to another line {} (hash {}, here {}): the input was changed. Resume with the "
      "input of the first run, or begin again with --force",
      place(line.number), output_.name(), line.number, recorded->second.input_hash, input_hash));
}

bool Batch::submit(const Prepared& prepared) {
  const GenerationRequest& request = prepared.request.request;
  if (num_sequences(request) > slots_) {
    const char* field = request.best_of == 0 ? "n" : "best_of";
    throw RequestError(field,
                       fmt::format("{0}: wanted at most {1}, the sequences at once of --parallel, found "
                                   "{2}; give --parallel {2}",
                                   field, slots_, num_sequences(request)));
  }
  auto stream = engine_.submit(request);
  if (stream == nullptr) {
    if (!running_.empty()) return false;
    throw RequestError("prompt",
                       fmt::format("prompt: {} tokens are more than can wait", request.prompt.size()));
  }
  Running& running = running_.emplace_back();
  running.key = prepared.key;
  running.stream = std::move(stream);
  running.result.seed = request.sampling.seed;
  if (prepared.request.echo && tokenizer_ != nullptr) {
    running.result.prompt_text = tokenizer::certain_text(*tokenizer_, request.prompt);
  }
  running.stream->set_wake([this] { wake_.notify(); });
  return true;
}

void Batch::refuse(const BatchKey& key, const RequestError& error) {
  if (options_.batch.bad_lines == "stop") {
    progress_.clear();
    const std::string sentence = error.what();
    const bool is_placed = sentence.starts_with(place(key.line));
    print_error(is_placed ? sentence : fmt::format("{}: {}", place(key.line), sentence));
    stopping_ = true;
    return;
  }
  append(to_json_line(key, error));
  ++bad_;
}

void Batch::take_answers() {
  for (auto running = running_.begin(); running != running_.end();) {
    while (auto event = running->stream->try_pop()) {
      generated_tokens_ += event->tokens.size();
      add_event(running->result.generation, *std::move(event));
    }
    if (!running->stream->exhausted()) {
      ++running;
      continue;
    }
    running->stream->set_wake(nullptr);
    answer(*running);
    running = running_.erase(running);
  }
}

// A device that failed says nothing about the line: it gets no record, so that --resume tries it again.
void Batch::answer(Running& running) {
  Generation& generation = running.result.generation;
  generation.prompt_tokens_read = running.stream->prompt_tokens_read();
  prompt_tokens_ += generation.prompt_tokens_read;
  try {
    check_not_failed(generation);
  } catch (const std::runtime_error& error) {
    progress_.clear();
    print_error(fmt::format("{}: {}", place(running.key.line), error.what()));
    stopping_ = true;
    return;
  }
  append(to_json_line(running.key, running.result, tokenizer_));
}

void Batch::append(const std::string& record) {
  output_.append(record);
  ++done_;
}

void Batch::check_input_is_complete() const {
  if (stopping_) return;
  for (const auto& [line, recorded] : recorded_) {
    if (line <= reader_.lines_read()) continue;
    throw std::runtime_error(
        fmt::format("{} holds the answer to line {}, and {} has {} lines: the input was changed",
                    output_.name(), line, reader_.name(), reader_.lines_read()));
  }
}

void Batch::show_progress() {
  const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
  progress_.show(fmt::format("batch: {} lines done, {} in work, {:.1f} tokens/s", done_, running_.size(),
                             static_cast<double>(generated_tokens_) / std::max(seconds, 1e-9)));
}

std::string Batch::done_sentence() const {
  return fmt::format(
      "{} {} done{}", done_, done_ == 1 ? "line is" : "lines are",
      output_.is_resumable() ? fmt::format(" in {}; --resume continues", output_.name()) : std::string());
}

std::string Batch::timings_text() const {
  const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
  return fmt::format(
      "batch        {} lines done in {}\n"
      "prompts      {} tokens\n"
      "generated    {} tokens, {:.1f} tokens/s\n",
      done_, readable_seconds(seconds), prompt_tokens_, generated_tokens_,
      static_cast<double>(generated_tokens_) / std::max(seconds, 1e-9));
}

int Batch::exit_code() {
  if (interrupted()) {
    print_notice("interrupted: " + done_sentence());
    return interrupted_exit_code();
  }
  if (stopping_) {
    print_notice("stopped: " + done_sentence());
    return engine_.device_fault().empty() ? kRuntimeError : kDeviceLost;
  }
  if (bad_ == 0) return kOk;
  print_error(fmt::format("{} of {} lines are bad; their records in {} say why (\"error\")", bad_, done_,
                          output_.name()));
  return kRuntimeError;
}

}  // namespace

int run_batch(const RunOptions& options) {
  require_model(options.model.model);
  check_options(options);
  const std::string& input_path = *options.batch.input;
  const Descriptor input = open_input(input_path);
  OpenModel model(options.model, {.slots = num_slots(options)});
  BatchOutput output(output_path(options.batch), mode_of(options.batch));
  if (output.descriptor().is_same_file(input)) {
    throw UsageError(fmt::format("{} is the input and the output; name another output", input_path));
  }
  LineReader reader(input.value(), input_path == "-" ? "stdin" : input_path, kMaxBatchLineBytes);
  Batch batch(options, model, reader, output);
  output.begin();
  return batch.run();
}

}  // namespace ttt::cli
