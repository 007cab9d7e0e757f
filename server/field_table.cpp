// SPDX-License-Identifier: Apache-2.0
#include "server/field_table.h"

#include <algorithm>
#include <limits>

namespace ttt::server {
namespace {

using Kind = Field::Kind;
using F = CompletionFields&;

constexpr std::uint8_t bit(FieldSet set) {
  return static_cast<std::uint8_t>(1U << static_cast<unsigned>(set));
}
constexpr std::uint8_t kBatch = bit(FieldSet::kBatch);
constexpr std::uint8_t kText = bit(FieldSet::kCompletion);
constexpr std::uint8_t kChat = bit(FieldSet::kChat);
constexpr std::uint8_t kScore = bit(FieldSet::kScore);
constexpr std::uint8_t kHttp = kText | kChat | kScore;
constexpr std::uint8_t kAll = kBatch | kText | kChat;

// What engine/request.h and engine/sampling_params.h allow, for the interface's description; a test tries
// them.
constexpr const char* kFromZero = R"("minimum":0)";
constexpr const char* kFromMinusOne = R"("minimum":-1)";
constexpr const char* kShare = R"("minimum":0,"maximum":1)";
constexpr const char* kPositiveShare = R"("exclusiveMinimum":0,"maximum":1)";
constexpr const char* kTo100 = R"("minimum":0,"maximum":100)";
constexpr const char* kPositiveTo100 = R"("exclusiveMinimum":0,"maximum":100)";
constexpr const char* kPenalty = R"("minimum":-2,"maximum":2)";
constexpr const char* kChoices = R"("minimum":1,"maximum":128)";
constexpr const char* kCandidates = R"("minimum":0,"maximum":128)";

// Integers beyond 32 bits are out of every range, and stay so.
std::int32_t narrowed(std::int64_t value) {
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(value, std::numeric_limits<std::int32_t>::min(),
                                                            std::numeric_limits<std::int32_t>::max()));
}

// Any 64 bits are a seed; over HTTP negative ones too, as clients send them.
void set_seed(F fields, std::int64_t value) { fields.seed = static_cast<std::uint64_t>(value); }

Field integer(const char* name, std::uint8_t sets, const char* about, void (*set)(F, std::int64_t),
              const char* limits = "") {
  return {.name = name,
          .kind = Kind::kInteger,
          .sets = sets,
          .about = about,
          .set_integer = set,
          .limits = limits};
}
Field number(const char* name, const char* about, float* (*get)(F), const char* limits) {
  return {.name = name, .kind = Kind::kNumber, .sets = kAll, .about = about, .number = get, .limits = limits};
}
Field flag(const char* name, std::uint8_t sets, const char* about, bool* (*get)(F)) {
  return {.name = name, .kind = Kind::kBool, .sets = sets, .about = about, .flag = get};
}
Field ids(const char* name, const char* about, std::vector<TokenId>* (*get)(F)) {
  return {.name = name, .kind = Kind::kIds, .sets = kAll, .about = about, .ids = get};
}
Field text(const char* name, std::uint8_t sets, const char* about, std::string* (*get)(F)) {
  return {.name = name, .kind = Kind::kText, .sets = sets, .about = about, .text = get};
}
Field one_way(const char* name, const char* about, std::vector<const char*> words = {}) {
  return {.name = name, .kind = Kind::kOneWay, .sets = kChat, .about = about, .words = std::move(words)};
}

const std::vector<Field>& fields() {
  static const std::vector<Field> kFields = {
      {.name = "id", .kind = Kind::kId, .sets = kBatch, .about = "given back as it came"},
      {.name = "prompt",
       .kind = Kind::kPrompt,
       .sets = kBatch | kText | kScore,
       .about = "a text, token ids, or several of either",
       .prompts = [](F f) { return &f.prompts; }},
      {.name = "completions",
       .kind = Kind::kPrompt,
       .sets = kScore,
       .about = "what may follow the prompt: a text, token ids, or several of either",
       .prompts = [](F f) { return &f.completions; },
       .limits = R"("minLength":1)"},
      {.name = "messages", .kind = Kind::kMessages, .sets = kChat, .about = "the conversation so far"},
      integer(
          "max_tokens", kAll, "tokens to generate, at most",
          [](F f, std::int64_t value) { f.request.max_tokens = value; }, kFromZero),
      integer(
          "max_completion_tokens", kChat, "the same; it goes before max_tokens",
          [](F f, std::int64_t value) { f.max_completion_tokens = value; }, kFromZero),
      integer(
          "min_tokens", kAll, "no end of text before so many tokens",
          [](F f, std::int64_t value) { f.request.min_tokens = value; }, kFromZero),
      number(
          "temperature", "0: always the most probable token",
          [](F f) { return &f.request.sampling.temperature; }, kTo100),
      integer(
          "top_k", kAll, "draw from so many of the most probable tokens; 0: from all",
          [](F f, std::int64_t value) { f.request.sampling.top_k = narrowed(value); }, kFromZero),
      number(
          "top_p", "draw from the most probable tokens that together have this probability",
          [](F f) { return &f.request.sampling.top_p; }, kShare),
      number(
          "min_p", "draw from tokens with at least this share of the most probable one's probability",
          [](F f) { return &f.request.sampling.min_p; }, kShare),
      number(
          "typical_p", "draw from the tokens of typical information that together have this probability",
          [](F f) { return &f.request.sampling.typical_p; }, kPositiveShare),
      number(
          "repetition_penalty", "divides the logits of tokens that were there; 1: none",
          [](F f) { return &f.request.sampling.repetition_penalty; }, kPositiveTo100),
      integer(
          "repeat_last_n", kAll, "how far back repetition_penalty looks; -1: to the beginning",
          [](F f, std::int64_t value) { f.request.sampling.repeat_last_n = narrowed(value); }, kFromMinusOne),
      number(
          "presence_penalty", "taken off the logits of tokens that were generated",
          [](F f) { return &f.request.sampling.presence_penalty; }, kPenalty),
      number(
          "frequency_penalty", "the same, for each time that they were",
          [](F f) { return &f.request.sampling.frequency_penalty; }, kPenalty),
      {.name = "logit_bias",
       .kind = Kind::kBiases,
       .sets = kAll,
       .about = "added to the logits of token ids, -100 to 100"},
      ids("banned_tokens", "token ids that are never drawn", [](F f) { return &f.request.sampling.banned; }),
      ids("allowed_tokens", "the only token ids that are drawn",
          [](F f) { return &f.request.sampling.allowed; }),
      integer("seed", kAll, "the same seed, the same answer", set_seed),
      {.name = "stop",
       .kind = Kind::kTexts,
       .sets = kAll,
       .about = "the text ends before the first of these"},
      ids("stop_token_ids", "the text ends where one of these is drawn",
          [](F f) { return &f.request.stop_ids; }),
      flag("ignore_eos", kAll, "never draw the end-of-text token", [](F f) { return &f.ignore_eos; }),
      integer(
          "n", kAll, "answers to each prompt", [](F f, std::int64_t value) { f.request.num_choices = value; },
          kChoices),
      integer(
          "best_of", kBatch | kText, "generate so many, return the n most probable",
          [](F f, std::int64_t value) { f.request.best_of = value; }, kCandidates),
      integer(
          "logprobs", kBatch | kText, "log-probabilities of each token and of so many beside it",
          [](F f, std::int64_t value) { f.request.top_log_probs = value; }, kFromZero),
      flag("logprobs", kChat, "log-probabilities of each token", [](F f) { return &f.log_probs; }),
      integer(
          "top_logprobs", kChat, "and of so many of the most probable ones",
          [](F f, std::int64_t value) { f.top_log_probs = value; }, kFromZero),
      flag("echo", kBatch | kText, "the prompt before the answer", [](F f) { return &f.echo; }),
      text("model", kHttp, "a name that GET /v1/models lists", [](F f) { return &f.model; }),
      text("suffix", kText, "not supported: refused unless empty", [](F f) { return &f.suffix; }),
      text("state", kText, "a name that GET /v1/states lists: the prompt goes on from there",
           [](F f) { return &f.state.emplace(); }),
      text("state", kChat | kScore, "not supported: refused unless null",
           [](F f) { return &f.state.emplace(); }),
      flag("stream", kText | kChat, "send the answer while it is made", [](F f) { return &f.stream; }),
      {.name = "stream_options",
       .kind = Kind::kStreamOptions,
       .sets = kText | kChat,
       .about = "with stream: include_usage, continuous_usage_stats"},
      flag("add_special_tokens", kHttp, "the begin-of-text token before a text, where the model wants it",
           [](F f) { return &f.add_special_tokens; }),
      flag("return_tokens_as_token_ids", kHttp, "in log-probabilities token_id:7 instead of a text",
           [](F f) { return &f.tokens_as_ids; }),
      flag("return_token_ids", kText | kChat, "the ids of the prompt and of the answer's tokens too",
           [](F f) { return &f.token_ids; }),
      {.name = "user", .kind = Kind::kAnything, .sets = kHttp, .about = "accepted, without effect"},
      one_way("response_format", "text alone", {"text"}),
      one_way("modalities", "text alone", {"text"}),
      one_way("audio", "not supported: refused unless null"),
      one_way("tools", "not supported: refused unless empty"),
      one_way("tool_choice", "not supported: refused unless none or auto", {"none", "auto"}),
      one_way("functions", "not supported: refused unless empty"),
      one_way("function_call", "not supported: refused unless none or auto", {"none", "auto"}),
  };
  return kFields;
}

}  // namespace

bool Field::is_seed() const { return set_integer == &set_seed; }

std::span<const Field> all_fields() { return fields(); }

std::vector<std::string> completion_field_names(FieldSet set) {
  std::vector<std::string> names;
  for (const Field& field : fields()) {
    if (field.is_in(set)) names.emplace_back(field.name);
  }
  return names;
}

const char* wanted(const Field& field, FieldSet set) {
  switch (field.kind) {
    case Kind::kId:
      return "a string or an integer";
    case Kind::kPrompt:
      return set == FieldSet::kBatch ? "a string or an array of token ids"
                                     : "a string, an array of token ids, or an array of either";
    case Kind::kMessages:
      return "an array of messages such as {\"role\": \"user\", \"content\": \"Hello\"}";
    case Kind::kInteger:
      return "an integer";
    case Kind::kNumber:
      return "a number";
    case Kind::kBool:
      return "true or false";
    case Kind::kText:
      return "a string";
    case Kind::kIds:
      return "an array of token ids";
    case Kind::kTexts:
      return "a string or an array of strings";
    case Kind::kBiases:
      return "an object of token ids and numbers, such as {\"42\": -1.5}";
    case Kind::kStreamOptions:
      return "an object such as {\"include_usage\": true}";
    case Kind::kAnything:
    case Kind::kOneWay:
      break;
  }
  return "";
}

}  // namespace ttt::server
