// SPDX-License-Identifier: Apache-2.0
#include "cli/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <span>

#include "cli/batch.h"
#include "cli/exit_code.h"
#include "cli/json_output.h"
#include "cli/log.h"
#include "cli/parse_value.h"
#include "cli/readable.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"

namespace ttt::cli {
namespace {

constexpr std::string_view kHowToPrompt =
    "give one with -p TEXT, -f FILE, --tokens 1,2,3, as the argument after the model, or through a pipe";

void check_one_prompt(const RunOptions& options) {
  const int sources = (options.prompt ? 1 : 0) + (options.file ? 1 : 0) + (options.tokens ? 1 : 0) +
                      (options.positional_prompt.empty() ? 0 : 1);
  if (sources > 1) throw UsageError(fmt::format("more than one prompt; {}", kHowToPrompt));
  if (sources == 0 && !options.state.in && stdin_is_terminal())
    throw UsageError(fmt::format("no prompt; {}", kHowToPrompt));
}

void check_state_options(const RunOptions& options) {
  if (options.state.in && (options.parse_special || options.no_bos)) {
    throw UsageError("--parse-special and --no-bos are for the beginning of a text, not with --state-in");
  }
  if (options.state.in && options.echo && options.sampling.logprobs) {
    throw UsageError("--echo with --logprobs: a saved state has none of the tokens that it has read");
  }
  if (options.state.out && num_sequences(options.sampling) != 1) {
    throw UsageError("--state-out saves one sequence, not those of --num or --best-of");
  }
}

// Editors and echo end a text with a newline that nobody means.
std::string without_final_newline(std::string text) {
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::string read_prompt_text(const RunOptions& options) {
  if (options.prompt) return *options.prompt;
  if (options.file) return without_final_newline(read_input(*options.file));
  if (!options.positional_prompt.empty() && options.positional_prompt != "-")
    return options.positional_prompt;
  return without_final_newline(read_input("-"));
}

bool has_prompt(const RunOptions& options) {
  return options.prompt || options.file || options.tokens || !options.positional_prompt.empty();
}

std::vector<TokenId> read_prompt(const RunOptions& options, const ModelFiles& files) {
  if (options.state.in && !has_prompt(options)) return {};  // it goes on by itself, and stdin is not asked
  if (options.tokens) {
    const bool is_file = options.tokens->starts_with('@');
    const std::string list = is_file ? read_input(options.tokens->substr(1)) : *options.tokens;
    return parse_id_list(list, static_cast<std::int64_t>(files.model.config.vocab_size), "--tokens");
  }
  if (options.state.in) return files.need_tokenizer().encode_continuation(read_prompt_text(options));
  const auto special =
      options.parse_special ? tokenizer::SpecialTokens::kParse : tokenizer::SpecialTokens::kPlain;
  return files.encode_prompt(read_prompt_text(options), !options.no_bos, special);
}

double rate(std::size_t count, double seconds) {
  return seconds > 0.0 ? static_cast<double>(count) / seconds : 0.0;
}

// Prints what a choice brings as it comes: its text, or the ids where there is no tokenizer ("12,5,733").
class ChoicePrinter {
 public:
  explicit ChoicePrinter(bool as_ids) : as_ids_(as_ids) {}

  void print(const TokenEvent& event) {
    if (!as_ids_) return write_stdout(event.text);
    for (const TokenInfo& token : event.tokens) pending_.push_back(token.id);
    // The last one may turn out to be what ended the text.
    if (event.finish && !pending_.empty() && event.finish->ended_by_token) pending_.pop_back();
    const std::size_t certain = event.finish || pending_.empty() ? pending_.size() : pending_.size() - 1;
    print_ids(std::span(pending_).first(certain));
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(certain));
  }
  void print_ids(std::span<const TokenId> ids) {
    for (const TokenId id : ids) write_stdout(fmt::format("{}{}", printed_++ == 0 ? "" : ",", id));
  }
  void finish(std::string_view whole_text) const {
    if (as_ids_ && printed_ > 0) write_stdout("\n");
    if (!as_ids_) end_text_on_terminal(whole_text);
  }

 private:
  bool as_ids_;
  std::vector<TokenId> pending_;
  std::size_t printed_ = 0;
};

// One continuation, as it is generated. Where stdout takes no more, generation ends, and why is returned:
// what was read and drawn by then is still worth saving.
std::exception_ptr stream_choice(const RunOptions& options, const GenerationRequest& request, bool as_ids,
                                 TokenStream& stream, RunResult& result) {
  std::exception_ptr failure;
  const auto try_to = [&](auto&& write) {
    if (failure) return;
    try {
      write();
    } catch (...) {
      failure = std::current_exception();
      stream.cancel();
    }
  };
  ChoicePrinter printer(as_ids);
  try_to([&] {
    if (as_ids && options.echo) printer.print_ids(request.prompt);
    if (!as_ids) write_stdout(result.prompt_text);
  });
  result.generation =
      read_stream(stream, [&](const TokenEvent& event) { try_to([&] { printer.print(event); }); });
  try_to([&] { printer.finish(result.prompt_text + result.generation.choices[0].text); });
  return failure;
}

// Several, each under a heading, after all have ended.
void print_choices(const RunOptions& options, const GenerationRequest& request, bool as_ids,
                   TokenStream& stream, RunResult& result) {
  result.generation = read_stream(stream, [](const TokenEvent&) {});
  const std::size_t count = result.generation.choices.size();
  for (std::size_t i = 0; i < count; ++i) {
    const Choice& choice = result.generation.choices[i];
    write_stdout(fmt::format("=== {} of {} ===\n", i + 1, count));
    if (as_ids) {
      const std::vector<TokenId> prompt = options.echo ? request.prompt : std::vector<TokenId>();
      std::vector<TokenId> ids = prompt;
      for (const TokenId id : choice.output_ids()) ids.push_back(id);
      write_stdout(fmt::format("{}\n", fmt::join(ids, ",")));
    } else {
      write_stdout(fmt::format("{}{}\n", result.prompt_text, choice.text));
    }
  }
}

GenerationRequest request_of(const RunOptions& options, const ModelFiles& files, std::uint64_t seed) {
  if (options.sampling.logprobs && !options.json) {
    throw UsageError("--logprobs prints its numbers with --json; add that");
  }
  GenerationRequest request = make_request(options.sampling, files, seed);
  request.prompt = read_prompt(options, files);
  request.prompt_log_probs = options.echo && options.sampling.logprobs;
  return request;
}

std::shared_ptr<TokenStream> submit(Engine& engine, const GenerationRequest& request) {
  std::shared_ptr<TokenStream> stream;
  try {
    stream = engine.submit(request);
  } catch (const RequestError& error) {
    throw in_option_words(error);
  }
  if (stream == nullptr) {
    throw UsageError(fmt::format("the prompt of {} tokens is longer than the engine's queue takes",
                                 request.prompt.size()));
  }
  return stream;
}

}  // namespace

std::size_t RunResult::completion_tokens() const {
  std::size_t count = 0;
  for (const Choice& choice : generation.choices) count += choice.output_ids().size();
  return count;
}

const RequestTimes& RunResult::times() const {
  const auto longest = std::ranges::max_element(
      generation.choices, {}, [](const Choice& choice) { return choice.finish.times.decode; });
  return longest->finish.times;
}

std::size_t RunResult::prompt_tokens_computed() const {
  return generation.prompt_tokens_read - std::min(tokens_from_state, generation.prompt_tokens_read);
}

double RunResult::prefill_rate() const { return rate(prompt_tokens_computed(), times().prefill); }

double RunResult::decode_rate() const {
  std::size_t steps = 0;
  for (const Choice& choice : generation.choices) steps += choice.finish.times.decode_steps;
  return rate(steps, times().decode);
}

std::string_view finish_reason(const Choice& choice) {
  return choice.finish.reason == FinishReason::kCancelled ? "interrupted" : to_string(choice.finish.reason);
}

std::string timings_text(const RunResult& result) {
  const RequestTimes& times = result.times();
  return fmt::format(
      "load         {}\n"
      "prompt       {} tokens in {}, {:.1f} tokens/s\n"
      "generated    {} tokens in {}, {:.1f} tokens/s\n"
      "first token  {} after the start\n"
      "seed         {}\n",
      readable_seconds(result.load_seconds), result.prompt_tokens_computed(), readable_seconds(times.prefill),
      result.prefill_rate(), result.completion_tokens(), readable_seconds(times.decode), result.decode_rate(),
      readable_seconds(result.load_seconds + times.queued + times.prefill), result.seed);
}

int exit_code(const Generation& generation) {
  check_not_failed(generation);
  const auto any = [&](FinishReason reason) {
    return std::ranges::any_of(generation.choices,
                               [&](const Choice& choice) { return choice.finish.reason == reason; });
  };
  if (any(FinishReason::kCancelled)) return interrupted_exit_code();
  return any(FinishReason::kTimeLimit) ? kTimeLimit : kOk;
}

int run(const RunOptions& options) {
  if (!options.ignored.empty()) {
    print_notice(
        fmt::format("{}: this model has no context window; ignored", fmt::join(options.ignored, ", ")));
  }
  if (options.batch.input && (options.state.in || options.state.out)) {
    throw UsageError("--state-in and --state-out are for one prompt, not for --batch");
  }
  if (options.batch.input) return run_batch(options);
  if (options.batch.output || options.batch.resume || options.batch.force) {
    throw UsageError("-o, --resume and --force go with --batch FILE; without it, redirect stdout");
  }
  check_state_options(options);
  require_model(options.model.model);
  check_one_prompt(options);
  const auto begin = std::chrono::steady_clock::now();
  StateFiles states(options.state);
  OpenModel model(options.model, {.slots = num_sequences(options.sampling)}, [&](const ModelFiles& files) {
    if (!options.tokens && (has_prompt(options) || !options.state.in)) files.need_tokenizer();
    states.check(files);
  });
  states.compare(model.backend->info());
  const tokenizer::Tokenizer* tokenizer = model.files.tokenizer ? &*model.files.tokenizer : nullptr;
  RunResult result;
  result.load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();

  GenerationRequest request = request_of(options, model.files, random_seed());
  states.extend(request);
  result.seed = request.sampling.seed;
  result.tokens_from_state = states.tokens_read();
  log_info(fmt::format("prompt {} tokens, seed {}", request.prompt.size(), result.seed));
  if (options.echo && tokenizer != nullptr) {
    result.prompt_text = tokenizer::certain_text(*tokenizer, request.prompt);
  }
  Engine engine(*model.backend, model.config(), tokenizer);
  const auto stream = submit(engine, request);
  std::exception_ptr failure;
  if (options.json) {
    result.generation = read_stream(*stream, [](const TokenEvent&) {});
  } else if (request.num_choices > 1) {
    print_choices(options, request, tokenizer == nullptr, *stream, result);
  } else {
    failure = stream_choice(options, request, tokenizer == nullptr, *stream, result);
  }
  const int code = exit_code(result.generation);
  // Where the one cannot be written, the other still is.
  try {
    states.save(request, result.generation.choices[0], model.backend->info());
  } catch (...) {
    if (!failure) failure = std::current_exception();
  }
  if (options.json) write_stdout(to_json(result, tokenizer));
  if (failure) std::rethrow_exception(failure);
  if (options.timings) fmt::print(stderr, "{}", timings_text(result));
  return code;
}

}  // namespace ttt::cli
