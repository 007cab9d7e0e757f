// SPDX-License-Identifier: Apache-2.0
#include "server/completion_request.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "engine/request_error.h"
#include "server/api_error.h"
#include "server/completion_fields.h"

namespace ttt::server {
namespace {

// OpenAI's defaults, where they differ from the engine's.
CompletionFields default_fields() {
  CompletionFields fields;
  fields.request.max_tokens = 16;
  fields.request.sampling.temperature = 1.0F;
  return fields;
}

ApiError invalid(const std::string& param, const std::string& message) {
  return ApiError(400, "invalid_value", message, param);
}

// What can be said without knowing the engine.
void check_fields(const CompletionFields& fields, const RequestLimits& limits) {
  if (!fields.suffix.empty()) {
    throw ApiError(400, "unsupported_parameter",
                   "suffix: this model reads forward only and cannot fill in; leave suffix out", "suffix");
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
                               fmt::join(completion_field_names(FieldSet::kHttp), ", ")),
                   fields.unknown.front());
  }
}

void check_prompt_length(const std::vector<TokenId>& prompt, const RequestLimits& limits) {
  if (limits.max_prompt_tokens == 0 || std::cmp_less_equal(prompt.size(), limits.max_prompt_tokens)) return;
  throw ApiError(400, "context_length_exceeded",
                 fmt::format("prompt: this server takes at most {} tokens, found {}; shorten the prompt",
                             limits.max_prompt_tokens, prompt.size()),
                 "prompt");
}

// A short body can ask for an answer of any size: with echo, with many choices, with many prompts.
void check_answer_size(const CompletionFields& fields, const std::vector<GenerationRequest>& prompts,
                       const RequestLimits& limits) {
  double log_probs = 0.0, echoed = 0.0;
  for (const GenerationRequest& request : prompts) {
    const auto sequences = static_cast<double>(std::max<std::size_t>(1, num_sequences(request)));
    const auto size = static_cast<double>(request.prompt.size());
    if (fields.echo) echoed += size * sequences;
    if (!request.top_log_probs) continue;
    double tokens = request.prompt_log_probs ? size : 0.0;
    if (!fields.stream) tokens += static_cast<double>(request.max_tokens);
    log_probs += tokens * sequences * (static_cast<double>(*request.top_log_probs) + 1.0);
  }
  if (log_probs > limits.max_answer_logprobs) {
    throw invalid("logprobs",
                  fmt::format("logprobs: wanted at most {:.0f} log-probabilities in an answer, found "
                              "up to {:.0f}; ask for fewer, for fewer tokens, or for a stream",
                              limits.max_answer_logprobs, log_probs));
  }
  if (echoed > limits.max_echoed_tokens) {
    throw invalid("echo",
                  fmt::format("echo: wanted at most {:.0f} tokens of prompts in an answer, found {:.0f}",
                              limits.max_echoed_tokens, echoed));
  }
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
  check_prompt_length(prompt, limits);
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

CompletionRequest parse_completion(std::string_view body, const ServedModel& model,
                                   const RequestLimits& limits, std::uint64_t random_seed) {
  const FieldRules rules{.set = FieldSet::kHttp,
                         .vocab_size = model.config.vocab_size,
                         .max_string_bytes = body.size(),
                         .max_prompts = limits.max_prompts};
  CompletionFields fields = default_fields();
  try {
    read_completion_fields(body, "the body", rules, fields);
  } catch (const RequestError& error) {
    if (error.parameter.empty()) throw ApiError(400, "invalid_json", error.what());
    throw ApiError(400, "invalid_type", error.what(), error.parameter);
  }
  check_model_name(model, fields.model);
  check_fields(fields, limits);
  check_lists(fields, model);
  if (fields.prompts.empty()) fields.prompts.emplace_back(std::string());

  CompletionRequest result;
  result.model = fields.model.empty() ? model.names.front() : std::move(fields.model);
  result.seed = fields.seed.value_or(random_seed);
  result.echo = fields.echo;
  result.stream = fields.stream;
  result.include_usage = fields.include_usage;
  result.continuous_usage = fields.continuous_usage;
  result.tokens_as_ids = fields.tokens_as_ids;
  result.ignored = std::move(fields.unknown);
  for (std::size_t i = 0; i < fields.prompts.size(); ++i) {
    Prompt& prompt = fields.prompts[i];
    auto* const ids = std::get_if<std::vector<TokenId>>(&prompt);
    std::vector<TokenId> encoded =
        ids != nullptr ? std::move(*ids)
                       : encode_prompt(model, std::get<std::string>(prompt), fields.add_special_tokens);
    result.prompts.push_back(request_of(fields, std::move(encoded), i, result.seed, model, limits));
  }
  check_answer_size(fields, result.prompts, limits);
  return result;
}

}  // namespace ttt::server
