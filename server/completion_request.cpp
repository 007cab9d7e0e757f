// SPDX-License-Identifier: Apache-2.0
#include "server/completion_request.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/request_error.h"
#include "server/api_error.h"
#include "server/completion_fields.h"

namespace ttt::server {
namespace {

// An answer in a chat ends by itself or here, as there is no context window that would end it.
constexpr std::int64_t kChatTokens = 1024;

// OpenAI's defaults, where they differ from the engine's.
CompletionFields default_fields(AnswerShape shape) {
  CompletionFields fields;
  fields.request.max_tokens = shape == AnswerShape::kChat ? kChatTokens : 16;
  fields.request.sampling.temperature = 1.0F;
  return fields;
}

FieldSet field_set(AnswerShape shape) {
  switch (shape) {
    case AnswerShape::kText:
      return FieldSet::kCompletion;
    case AnswerShape::kChat:
      return FieldSet::kChat;
    case AnswerShape::kScore:
      return FieldSet::kScore;
  }
  return FieldSet::kCompletion;
}

ApiError invalid(const std::string& param, const std::string& message) {
  return ApiError(400, "invalid_value", message, param);
}

// Chat has other words for two things.
void settle_chat_fields(CompletionFields& fields, const RequestLimits& limits) {
  if (fields.max_completion_tokens) {
    if (*fields.max_completion_tokens < 0) {
      throw invalid("max_completion_tokens",
                    fmt::format("max_completion_tokens: wanted an integer of at least 0, found {}",
                                *fields.max_completion_tokens));
    }
    fields.request.max_tokens = *fields.max_completion_tokens;
  }
  if (fields.top_log_probs && !fields.log_probs) {
    throw invalid("top_logprobs", "top_logprobs: allowed only where logprobs is true");
  }
  const std::int64_t top = fields.top_log_probs.value_or(0);
  if (top < 0 || top > limits.max_logprobs) {
    throw invalid("top_logprobs",
                  fmt::format("top_logprobs: wanted 0 to {}, found {}", limits.max_logprobs, top));
  }
  if (fields.log_probs) fields.request.top_log_probs = top;
}

// What can be said without knowing the engine.
void check_fields(const CompletionFields& fields, AnswerShape shape, const RequestLimits& limits) {
  if (fields.unsupported) {
    throw ApiError(400, "unsupported_parameter", fields.unsupported->sentence, fields.unsupported->field);
  }
  if (!fields.suffix.empty()) {
    throw ApiError(400, "unsupported_parameter",
                   "suffix: this model reads forward only and cannot fill in; leave suffix out", "suffix");
  }
  if (fields.state && shape != AnswerShape::kText) {
    throw ApiError(400, "unsupported_parameter",
                   "state: only /v1/completions goes on from a saved state; leave state out", "state");
  }
  if (fields.state && fields.echo) {
    throw invalid("echo", "echo: tells a prompt that was read here, not a state's; leave echo or state out");
  }
  if (fields.has_stream_options && !fields.stream) {
    throw invalid("stream_options", "stream_options: allowed only where stream is true");
  }
  const GenerationRequest& request = fields.request;
  if (fields.stream && request.best_of > request.num_choices) {
    throw invalid("best_of", fmt::format("best_of: cannot be streamed where it is more than n ({}), found {}",
                                         request.num_choices, request.best_of));
  }
  if (request.stop_strings.size() > limits.max_stop) {
    throw invalid("stop", fmt::format("stop: wanted at most {} strings, found {}", limits.max_stop,
                                      request.stop_strings.size()));
  }
  if (request.top_log_probs && *request.top_log_probs > limits.max_logprobs) {
    throw invalid("logprobs", fmt::format("logprobs: wanted 0 to {}, found {}", limits.max_logprobs,
                                          *request.top_log_probs));
  }
  if (request.max_tokens < 0) {
    throw invalid("max_tokens",
                  fmt::format("max_tokens: wanted an integer of at least 0, found {}", request.max_tokens));
  }
  if (limits.strict_fields && !fields.unknown.empty()) {
    throw ApiError(400, "unknown_parameter",
                   fmt::format("there is no such field; there are {}",
                               fmt::join(completion_field_names(field_set(shape)), ", ")),
                   fields.unknown.front());
  }
}

void check_prompt_length(std::size_t size, const char* field, const RequestLimits& limits) {
  if (limits.max_prompt_tokens == 0 || std::cmp_less_equal(size, limits.max_prompt_tokens)) return;
  throw ApiError(400, "context_length_exceeded",
                 fmt::format("{}: this server takes at most {} tokens, found {}; shorten the prompt", field,
                             limits.max_prompt_tokens, size),
                 field);
}

// A short body can ask for an answer of any size: with echo, with many choices, with many prompts.
void check_answer_size(const CompletionFields& fields, const std::vector<GenerationRequest>& prompts,
                       const RequestLimits& limits) {
  double log_probs = 0.0, echoed = 0.0, ids = 0.0;
  for (const GenerationRequest& request : prompts) {
    const auto sequences = static_cast<double>(std::max<std::size_t>(1, num_sequences(request)));
    const auto size = static_cast<double>(request.prompt.size());
    if (fields.echo) echoed += size * sequences;
    if (fields.token_ids) ids += size * sequences;
    if (!request.top_log_probs) continue;
    double tokens = request.prompt_log_probs ? size : 0.0;
    if (!fields.stream) tokens += static_cast<double>(request.max_tokens);
    const auto given = static_cast<double>(num_given_tokens(request)) - size;
    log_probs += (tokens * sequences + given) * (static_cast<double>(*request.top_log_probs) + 1.0);
  }
  if (log_probs > limits.max_answer_logprobs) {
    throw invalid("logprobs",
                  fmt::format("logprobs: wanted at most {:.0f} log-probabilities in an answer, found "
                              "up to {:.0f}; ask for fewer, for fewer tokens, or for a stream",
                              limits.max_answer_logprobs, log_probs));
  }
  const auto check_prompts = [](const char* field, double found, double most) {
    if (found <= most) return;
    throw invalid(field, fmt::format("{}: wanted at most {:.0f} tokens of prompts in an answer, found {:.0f}",
                                     field, most, found));
  };
  check_prompts("echo", echoed, limits.max_echoed_tokens);
  check_prompts("return_token_ids", ids, limits.max_answer_ids);
}

// What a request carries is copied for each of its prompts and choices.
void check_lists(const CompletionFields& fields, const ServedModel& model) {
  constexpr std::size_t kMaxStopBytes = 4096;
  const GenerationRequest& request = fields.request;
  const std::size_t vocab_size = model.config.vocab_size;
  const auto check = [](const char* name, std::size_t count, std::size_t most) {
    if (count > most) throw invalid(name, fmt::format("{}: wanted at most {}, found {}", name, most, count));
  };
  check("banned_tokens", request.sampling.banned.size(), vocab_size);
  check("allowed_tokens", request.sampling.allowed.size(), vocab_size);
  check("logit_bias", request.sampling.logit_bias.size(), vocab_size);
  check("stop_token_ids", request.stop_ids.size(), kMaxStopIds);
  for (const std::string& stop : request.stop_strings) {
    if (stop.size() > kMaxStopBytes) {
      throw invalid(
          "stop", fmt::format("stop: wanted at most {} bytes in each, found {}", kMaxStopBytes, stop.size()));
    }
  }
}

GenerationRequest request_of(const CompletionFields& fields, std::vector<TokenId> prompt, std::size_t index,
                             std::uint64_t seed, const ServedModel& model, const RequestLimits& limits) {
  GenerationRequest request = fields.request;
  check_prompt_length(prompt.size(), fields.messages.empty() ? "prompt" : "messages", limits);
  request.prompt = std::move(prompt);
  request.sampling.seed = seed;
  request.sampling.prompt_index = static_cast<std::uint32_t>(index);
  request.eos_id = model.eos_id;
  request.prompt_log_probs = fields.echo && request.top_log_probs.has_value();
  request.time_limit = limits.time_limit;
  if (limits.max_output_tokens > 0)
    request.max_tokens = std::min(request.max_tokens, limits.max_output_tokens);
  if (fields.ignore_eos && request.eos_id) request.sampling.banned.push_back(*request.eos_id);
  return request;
}

CompletionFields read_fields(std::string_view body, AnswerShape shape, const ServedModel& model,
                             const RequestLimits& limits) {
  const FieldRules rules{.set = field_set(shape),
                         .vocab_size = model.config.vocab_size,
                         .max_string_bytes = body.size(),
                         .max_prompts = limits.max_prompts};
  CompletionFields fields = default_fields(shape);
  try {
    read_completion_fields(body, "the body", rules, fields);
  } catch (const RequestError& error) {
    if (error.parameter.empty()) throw ApiError(400, "invalid_json", error.what());
    throw ApiError(400, "invalid_type", error.what(), error.parameter);
  }
  check_model_name(model, fields.model);
  if (shape == AnswerShape::kChat) settle_chat_fields(fields, limits);
  check_fields(fields, shape, limits);
  check_lists(fields, model);
  return fields;
}

// The conversation as ids; what ends an answer is added to the request's own.
std::vector<TokenId> encode_messages(CompletionFields& fields, const ServedModel& model) {
  if (model.tokenizer == nullptr || !model.chat_template) {
    throw ApiError(400, "no_chat_template",
                   "this model has no chat template that is known here, so it was not taught to chat; start "
                   "the server with --chat-template (plain, chatml or llama2), or use /v1/completions");
  }
  if (fields.messages.empty()) {
    throw ApiError(400, "missing_required_parameter", "messages: missing; give an array of messages",
                   "messages");
  }
  try {
    tokenizer::ChatPrompt prompt =
        tokenizer::encode_chat(*model.tokenizer, *model.chat_template, fields.messages,
                               fields.add_special_tokens ? model.bos_id : std::nullopt, model.eos_id);
    GenerationRequest& request = fields.request;
    std::ranges::move(prompt.stop_strings, std::back_inserter(request.stop_strings));
    std::ranges::copy(prompt.stop_ids, std::back_inserter(request.stop_ids));
    return std::move(prompt.ids);
  } catch (const tokenizer::TokenizerError& error) {
    throw invalid("messages", error.what());
  }
}

// Behind other tokens: no begin-of-text token, no space in front of the first word.
std::vector<TokenId> encode_continuation(const ServedModel& model, Prompt prompt, const char* field) {
  if (auto* const ids = std::get_if<std::vector<TokenId>>(&prompt)) return std::move(*ids);
  const std::string& text = std::get<std::string>(prompt);
  if (text.empty()) return {};
  if (model.tokenizer == nullptr) {
    throw invalid(field, fmt::format("{}: this model has no tokenizer; give arrays of token ids", field));
  }
  try {
    return model.tokenizer->encode_continuation(text);
  } catch (const tokenizer::TokenizerError& error) {
    throw invalid(field, fmt::format("{}: {}", field, error.what()));
  }
}

std::vector<TokenId> encode_scored(const ServedModel& model, Prompt completion) {
  std::vector<TokenId> ids = encode_continuation(model, std::move(completion), "completions");
  if (ids.empty()) throw invalid("completions", "completions: wanted a text in each, found an empty one");
  return ids;
}

std::vector<TokenId> encode_prompt(const ServedModel& model, Prompt prompt, bool bos) {
  if (auto* const ids = std::get_if<std::vector<TokenId>>(&prompt)) return std::move(*ids);
  return encode_prompt(model, std::get<std::string>(prompt), bos);
}

// Null: none is asked for.
const SavedState* find_state(const CompletionFields& fields, const ServedModel& model) {
  if (!fields.state) return nullptr;
  const auto found = model.states.find(*fields.state);
  if (found != model.states.end()) return &found->second;
  std::vector<std::string> names;
  for (const auto& [name, state] : model.states) names.push_back(name);
  throw ApiError(404, "state_not_found",
                 names.empty()
                     ? "state: this server was started with none (--preload-state)"
                     : fmt::format("state: there is no such state here; there is {}", fmt::join(names, ", ")),
                 "state");
}

// Before there is memory for them.
void check_state_tokens(const SavedState& state, std::size_t num_prompts, const RequestLimits& limits) {
  const double tokens = static_cast<double>(state.tokens.size()) * static_cast<double>(num_prompts);
  if (num_prompts == 1 || tokens <= limits.max_state_tokens) return;  // one is the engine's to judge
  throw invalid("prompt",
                fmt::format("prompt: the state's tokens in front of each of {} are {:.0f}; wanted at "
                            "most {:.0f}; send fewer at a time",
                            num_prompts, tokens, limits.max_state_tokens));
}

void put_in_front(const SavedState& state, GenerationRequest& request) {
  request.prompt.insert(request.prompt.begin(), state.tokens.begin(), state.tokens.end());
  // One that has read nothing is begun as any other.
  if (state.state->position > 0) request.start = state.state;
}

// What the client sends; with `state` it may be nothing.
std::vector<std::vector<TokenId>> encode_prompts(CompletionFields& fields, AnswerShape shape,
                                                 const SavedState* state, const ServedModel& model) {
  if (shape == AnswerShape::kChat) return {encode_messages(fields, model)};
  if (fields.prompts.empty()) fields.prompts.emplace_back(std::string());
  std::vector<std::vector<TokenId>> prompts;
  for (Prompt& prompt : fields.prompts) {
    prompts.push_back(state == nullptr ? encode_prompt(model, std::move(prompt), fields.add_special_tokens)
                                       : encode_continuation(model, std::move(prompt), "prompt"));
  }
  return prompts;
}

// As many completions as run at once read the prompt together.
std::vector<GenerationRequest> score_groups(CompletionFields& fields,
                                            std::vector<std::vector<TokenId>> prompts,
                                            const ServedModel& model, const RequestLimits& limits) {
  if (prompts.size() != 1) {
    throw invalid("prompt",
                  fmt::format("prompt: wanted one, found {}; score each by itself", prompts.size()));
  }
  if (fields.completions.empty()) {
    throw ApiError(400, "missing_required_parameter",
                   "completions: missing; give a text, token ids, or several of either", "completions");
  }
  fields.request.max_tokens = 0;
  fields.request.top_log_probs = 1;
  constexpr std::size_t kMostAtOnce = 16;
  const std::size_t at_once = std::min(kMostAtOnce, model.slots);
  const std::size_t num_groups = (fields.completions.size() + at_once - 1) / at_once;
  const double tokens = static_cast<double>(num_groups) * static_cast<double>(prompts[0].size());
  if (tokens > limits.max_score_tokens) {
    throw invalid(
        "completions",
        fmt::format("completions: the prompt would be read {} times, which is {:.0f} tokens; wanted at "
                    "most {:.0f}; send fewer at a time",
                    num_groups, tokens, limits.max_score_tokens));
  }
  std::vector<GenerationRequest> groups;
  for (Prompt& completion : fields.completions) {
    if (groups.empty() || groups.back().continuations.size() == at_once) {
      groups.push_back(request_of(fields, prompts[0], groups.size(), 0, model, limits));
    }
    std::vector<std::vector<TokenId>>& group = groups.back().continuations;
    group.push_back(encode_scored(model, std::move(completion)));
    check_prompt_length(prompts[0].size() + group.back().size(), "completions", limits);
    groups.back().num_choices = static_cast<std::int64_t>(group.size());
  }
  return groups;
}

CompletionRequest common_of(CompletionFields& fields, AnswerShape shape, const ServedModel& model,
                            std::uint64_t random_seed) {
  CompletionRequest result;
  result.shape = shape;
  result.model = fields.model.empty() ? model.names.front() : std::move(fields.model);
  result.seed = fields.seed.value_or(random_seed);
  result.echo = fields.echo;
  result.stream = fields.stream;
  result.include_usage = fields.include_usage;
  result.continuous_usage = fields.continuous_usage;
  result.tokens_as_ids = fields.tokens_as_ids;
  result.token_ids = fields.token_ids;
  result.ignored = std::move(fields.unknown);
  return result;
}

}  // namespace

void check_model_name(const ServedModel& model, const std::string& name) {
  const auto is_name = [&](const std::string& served) { return served == "*" || served == name; };
  if (name.empty() || std::ranges::any_of(model.names, is_name)) return;
  throw ApiError(404, "model_not_found",
                 fmt::format("model: there is no such model here; there is {}", fmt::join(model.names, ", ")),
                 "model");
}

std::vector<TokenId> encode_prompt(const ServedModel& model, const std::string& text, bool bos) {
  if (model.tokenizer == nullptr) {
    throw invalid("prompt", "prompt: this model has no tokenizer; give arrays of token ids");
  }
  std::vector<TokenId> ids;
  try {
    ids = model.tokenizer->encode(text);
  } catch (const tokenizer::TokenizerError& error) {
    throw invalid("prompt", fmt::format("prompt: {}", error.what()));
  }
  if (bos && model.bos_id) ids.insert(ids.begin(), *model.bos_id);
  if (ids.empty()) {
    throw invalid("prompt", "prompt: empty, and no begin-of-text token stands in for it; give some text");
  }
  return ids;
}

std::size_t CompletionRequest::num_given_tokens() const {
  std::size_t count = 0;
  for (const GenerationRequest& request : prompts) {
    count += ttt::num_given_tokens(request);
    if (shape == AnswerShape::kScore && &request != &prompts.front()) count -= request.prompt.size();
  }
  return count;
}

std::size_t CompletionRequest::num_cached_tokens() const {
  std::size_t count = 0;
  for (const GenerationRequest& request : prompts) count += server::num_cached_tokens(request);
  return count;
}

CompletionRequest parse_completion(std::string_view body, AnswerShape shape, const ServedModel& model,
                                   const RequestLimits& limits, std::uint64_t random_seed) {
  CompletionFields fields = read_fields(body, shape, model, limits);
  const SavedState* const state = find_state(fields, model);
  std::vector<std::vector<TokenId>> prompts = encode_prompts(fields, shape, state, model);
  if (state != nullptr) check_state_tokens(*state, prompts.size(), limits);
  CompletionRequest result = common_of(fields, shape, model, random_seed);
  if (shape == AnswerShape::kScore) {
    result.prompts = score_groups(fields, std::move(prompts), model, limits);
  } else {
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      result.prompts.push_back(request_of(fields, std::move(prompts[i]), i, result.seed, model, limits));
      if (state != nullptr) put_in_front(*state, result.prompts.back());
    }
  }
  for (const GenerationRequest& request : result.prompts) {
    try {
      check_request(request, model.config.vocab_size);
    } catch (const RequestError& error) {
      throw invalid(error.parameter, error.what());
    }
  }
  check_answer_size(fields, result.prompts, limits);
  return result;
}

}  // namespace ttt::server
