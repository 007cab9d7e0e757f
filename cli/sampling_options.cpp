// SPDX-License-Identifier: Apache-2.0
#include "cli/sampling_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "cli/parse_value.h"

namespace ttt::cli {
namespace {

constexpr std::int64_t kAnyCount = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();
constexpr double kMaxSeconds = 1e9;

// The engine's names of what options set.
constexpr struct {
  const char* parameter;
  const char* option;
} kOptionOfParameter[] = {
    {"max_tokens", "--max-tokens"},
    {"min_tokens", "--min-tokens"},
    {"temperature", "--temperature"},
    {"top_k", "--top-k"},
    {"top_p", "--top-p"},
    {"min_p", "--min-p"},
    {"typical_p", "--typical-p"},
    {"repetition_penalty", "--repeat-penalty"},
    {"repeat_last_n", "--repeat-last-n"},
    {"presence_penalty", "--presence-penalty"},
    {"frequency_penalty", "--frequency-penalty"},
    {"logit_bias", "--logit-bias"},
    {"banned", "--banned-tokens"},
    {"allowed", "--allowed-tokens"},
    {"stop", "--stop"},
    {"stop_token_ids", "--stop-token-ids"},
    {"n", "--num"},
    {"best_of", "--best-of"},
    {"logprobs", "--logprobs"},
};

std::vector<TokenId> ids_of(const std::optional<std::string>& list, const ModelFiles& files,
                            const char* option) {
  if (!list) return {};
  return parse_id_list(*list, static_cast<std::int64_t>(files.model.config.vocab_size), option);
}

LogitBias parse_bias(const std::string& text, const ModelFiles& files) {
  const std::size_t equals = text.find('=');
  const auto value = equals == std::string::npos ? std::nullopt : parse_number(text.substr(equals + 1));
  if (!value) throw UsageError(fmt::format("--logit-bias: wanted ID=BIAS, as in 42=-1.5, found '{}'", text));
  const std::vector<TokenId> ids = ids_of(text.substr(0, equals), files, "--logit-bias");
  if (ids.size() != 1)
    throw UsageError(fmt::format("--logit-bias: wanted one id before =, found '{}'", text));
  return {ids[0], static_cast<float>(*value)};
}

}  // namespace

void add_sampling_options(Command& command, SamplingOptions& options) {
  command.integer(
      "-n,--max-tokens,--n-predict,--predict", options.max_tokens, {-1, kAnyCount}, "N",
      "tokens to generate; -1: until the end-of-text token or Ctrl-C; 0: read the prompt and stop");
  command.integer("--min-tokens", options.min_tokens, {0, kAnyCount}, "N",
                  "before so many tokens, none that ends the text is drawn");
  command.number("--temperature,--temp", options.temperature, 0.0, 100.0, "T",
                 "sampling temperature; 0 takes the most probable token");
  command.integer("--top-k", options.top_k, {0, kMaxInt32}, "K", "draw from the K most probable; 0: all");
  command.number("--top-p", options.top_p, 0.0, 1.0, "P",
                 "draw from the fewest most probable tokens that make up P");
  command.number("--min-p", options.min_p, 0.0, 1.0, "P",
                 "draw from tokens at least P times as probable as the most probable");
  command.number("--typical-p,--typical", options.typical_p, 0.0, 1.0, "P",
                 "draw from the tokens of most typical surprise that make up P");
  command.number("--repeat-penalty,--repetition-penalty", options.repeat_penalty, 0.0, 100.0, "X",
                 "make tokens of the last ones less (above 1) or more (below 1) probable");
  command.integer("--repeat-last-n", options.repeat_last_n, {-1, kMaxInt32}, "N",
                  "how many last tokens, prompt included, --repeat-penalty looks at; -1: all");
  command.number("--presence-penalty", options.presence_penalty, -2.0, 2.0, "X",
                 "taken from the logit of every token generated before");
  command.number("--frequency-penalty", options.frequency_penalty, -2.0, 2.0, "X",
                 "the same, for each time that it was generated");
  command.list("--logit-bias", options.logit_bias, "ID=BIAS",
               "added to a token's logit, from -100 (never) to 100 (nothing else)");
  command.optional_text("--banned-tokens", options.banned_tokens, "IDS", "tokens never to draw: 1,2,3");
  command.optional_text("--allowed-tokens", options.allowed_tokens, "IDS", "draw only from these: 1,2,3");
  command.optional_integer("-s,--seed", options.seed, {0, kAnyCount}, "N",
                           "seed of the sampler; without one it differs each time");
  command.list("--stop", options.stop, "TEXT", "end where this text appears; it is not printed")
      .environment.clear();
  command.optional_text("--stop-token-ids", options.stop_token_ids, "IDS",
                        "end at any of these tokens: 1,2,3");
  command.flag("--ignore-eos", options.ignore_eos, "never draw the end-of-text token");
  command.integer("--num,--n-choices", options.num, {1, kMaxChoices}, "N",
                  "continuations of the prompt, which is read once");
  command.integer("--best-of", options.best_of, {0, kMaxChoices}, "N",
                  "generate N and keep the most probable ones; 0: as many as --num");
  command.optional_integer("--logprobs", options.logprobs, {0, kMaxTopLogProbs}, "N",
                           "log-probabilities of the tokens and of the N most probable ones; with --json");
  command.number("--timeout", options.timeout, 0.0, kMaxSeconds, "SECONDS",
                 "end after this time with code 5 and keep what is there; 0: no limit");
}

UsageError in_option_words(const RequestError& error) {
  const std::string sentence = error.what();
  const auto option = std::ranges::find(kOptionOfParameter, error.parameter,
                                        [](const auto& entry) { return std::string(entry.parameter); });
  if (option == std::end(kOptionOfParameter) || !sentence.starts_with(error.parameter)) {
    return UsageError(sentence);
  }
  return UsageError(option->option + sentence.substr(error.parameter.size()));
}

std::uint64_t random_seed() { return std::random_device{}(); }

GenerationRequest make_request(const SamplingOptions& options, const ModelFiles& files, std::uint64_t seed) {
  GenerationRequest request;
  request.max_tokens = options.max_tokens;
  request.min_tokens = options.min_tokens;
  SamplingParams& sampling = request.sampling;
  sampling.temperature = static_cast<float>(options.temperature);
  sampling.top_k = static_cast<std::int32_t>(options.top_k);
  sampling.top_p = static_cast<float>(options.top_p);
  sampling.min_p = static_cast<float>(options.min_p);
  sampling.typical_p = static_cast<float>(options.typical_p);
  sampling.repetition_penalty = static_cast<float>(options.repeat_penalty);
  sampling.repeat_last_n = static_cast<std::int32_t>(options.repeat_last_n);
  sampling.presence_penalty = static_cast<float>(options.presence_penalty);
  sampling.frequency_penalty = static_cast<float>(options.frequency_penalty);
  for (const std::string& bias : options.logit_bias) sampling.logit_bias.push_back(parse_bias(bias, files));
  sampling.banned = ids_of(options.banned_tokens, files, "--banned-tokens");
  sampling.allowed = ids_of(options.allowed_tokens, files, "--allowed-tokens");
  sampling.seed = options.seed ? static_cast<std::uint64_t>(*options.seed) : seed;
  request.eos_id = files.eos_id();
  if (options.ignore_eos && request.eos_id) sampling.banned.push_back(*request.eos_id);
  request.stop_ids = ids_of(options.stop_token_ids, files, "--stop-token-ids");
  request.stop_strings = options.stop;
  if (!options.stop.empty()) files.need_tokenizer();
  request.num_choices = options.num;
  request.best_of = options.best_of;
  request.top_log_probs = options.logprobs;
  const std::int64_t shortest = options.timeout > 0.0 ? 1 : 0;  // 0 would be no limit
  request.time_limit =
      std::chrono::milliseconds(std::max<std::int64_t>(shortest, std::llround(options.timeout * 1000.0)));
  return request;
}

}  // namespace ttt::cli
