// SPDX-License-Identifier: Apache-2.0
#include "cli/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <span>

#include "cli/exit_code.h"
#include "cli/generate.h"
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
  if (sources == 0 && stdin_is_terminal()) throw UsageError(fmt::format("no prompt; {}", kHowToPrompt));
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

std::vector<TokenId> read_prompt(const RunOptions& options, const ModelFiles& files) {
  if (options.tokens) {
    const bool is_file = options.tokens->starts_with('@');
    const std::string list = is_file ? read_input(options.tokens->substr(1)) : *options.tokens;
    return parse_id_list(list, static_cast<std::int64_t>(files.model.config.vocab_size), "--tokens");
  }
  files.need_tokenizer();  // before waiting for stdin
  const auto special =
      options.parse_special ? tokenizer::SpecialTokens::kParse : tokenizer::SpecialTokens::kPlain;
  return files.encode_prompt(read_prompt_text(options), !options.no_bos, special);
}

double rate(std::size_t count, double seconds) {
  return seconds > 0.0 ? static_cast<double>(count) / seconds : 0.0;
}

// Without a tokenizer the ids themselves are the output: "12,5,733".
class IdPrinter {
 public:
  void print(std::span<const TokenId> ids) {
    for (const TokenId id : ids) write_stdout(fmt::format("{}{}", printed_++ == 0 ? "" : ",", id));
  }
  void finish() const {
    if (printed_ > 0) write_stdout("\n");
  }

 private:
  std::size_t printed_ = 0;
};

// 32 bits: differs from call to call and is exact as a JSON number.
std::int64_t random_seed() { return static_cast<std::int64_t>(std::random_device{}()); }

GenerationRequest make_request(const RunOptions& options, const ModelFiles& files, std::int64_t seed) {
  GenerationRequest request;
  request.prompt = read_prompt(options, files);
  request.max_tokens = options.max_tokens;
  request.sampling.temperature = static_cast<float>(options.temperature);
  request.sampling.seed = static_cast<std::uint64_t>(seed);
  request.stop_strings = options.stop;
  request.eos_id = files.eos_id();
  if (!options.stop.empty()) files.need_tokenizer();
  return request;
}

void run_as_text(const RunOptions& options, const GenerationRequest& request, OpenModel& model,
                 RunResult& result) {
  const tokenizer::Tokenizer& tokenizer = *model.files.tokenizer;
  const auto print = [&](std::string_view text) {
    if (!options.json) write_stdout(text);
  };
  if (options.echo) result.text = tokenizer::certain_text(tokenizer, request.prompt);
  print(result.text);
  Session session(request, 0, &tokenizer);
  run_session(session, *model.backend, print, result);
  if (!options.json) end_text_on_terminal(result.text);
}

void run_as_ids(const RunOptions& options, const GenerationRequest& request, OpenModel& model,
                RunResult& result) {
  IdPrinter printer;
  Session session(request, 0, nullptr);
  std::size_t printed = 0;
  if (options.echo && !options.json) printer.print(request.prompt);
  const auto print_new = [&](std::string_view) {
    if (!options.json) printer.print(std::span(session.generated()).subspan(printed));
    printed = session.generated().size();
  };
  run_session(session, *model.backend, print_new, result);
  printer.finish();
}

}  // namespace

double RunResult::prefill_rate() const { return rate(prompt_tokens, prefill_seconds); }

// The first token comes with the prompt; the others took one step each, and so did the end of text.
double RunResult::decode_rate() const { return rate(decode_steps, decode_seconds); }

std::string_view finish_reason(const RunResult& result) {
  return result.reason == FinishReason::kRunning ? "interrupted" : to_string(result.reason);
}

std::string timings_text(const RunResult& result) {
  const double first_token = result.load_seconds + result.prefill_seconds;
  return fmt::format(
      "load         {}\n"
      "prompt       {} tokens in {}, {:.1f} tokens/s\n"
      "generated    {} tokens in {}, {:.1f} tokens/s\n"
      "first token  {} after the start\n"
      "seed         {}\n",
      readable_seconds(result.load_seconds), result.prompt_tokens, readable_seconds(result.prefill_seconds),
      result.prefill_rate(), result.tokens.size(), readable_seconds(result.decode_seconds),
      result.decode_rate(), readable_seconds(first_token), result.seed);
}

void run_session(Session& session, Backend& backend, const std::function<void(std::string_view)>& on_text,
                 RunResult& result) {
  const GenerationTimes times = generate(session, backend, [&](std::string_view text) {
    result.text += text;
    on_text(text);
  });
  result.tokens = session.generated();
  result.reason = session.reason();
  // Fewer than the whole prompt after Ctrl-C.
  result.prompt_tokens = std::min(session.prompt_tokens(), static_cast<std::size_t>(session.position()));
  result.prefill_seconds = times.prefill_seconds;
  result.decode_seconds = times.decode_seconds;
  result.decode_steps = times.decode_steps;
}

int run(const RunOptions& options) {
  if (!options.ignored.empty()) {
    print_notice(
        fmt::format("{}: this model has no context window; ignored", fmt::join(options.ignored, ", ")));
  }
  require_model(options.model.model);
  check_one_prompt(options);
  const auto begin = std::chrono::steady_clock::now();
  OpenModel model(options.model);
  RunResult result;
  result.load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  result.seed = options.seed ? *options.seed : random_seed();

  const GenerationRequest request = make_request(options, model.files, result.seed);
  log_info(fmt::format("prompt {} tokens, seed {}", request.prompt.size(), result.seed));
  if (model.files.tokenizer) {
    run_as_text(options, request, model, result);
  } else {
    run_as_ids(options, request, model, result);
  }
  if (options.json) write_stdout(to_json(result));
  if (options.timings) fmt::print(stderr, "{}", timings_text(result));
  return result.reason == FinishReason::kRunning ? interrupted_exit_code() : static_cast<int>(kOk);
}

}  // namespace ttt::cli
