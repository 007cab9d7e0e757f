// SPDX-License-Identifier: Apache-2.0
#include "engine/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/request_error.h"

namespace ttt {
namespace {

void check_range(const char* parameter, std::int64_t value, std::int64_t min, std::int64_t max) {
  if (value >= min && value <= max) return;
  const std::string range = max == std::numeric_limits<std::int64_t>::max()
                                ? fmt::format("at least {}", min)
                                : fmt::format("from {} to {}", min, max);
  throw RequestError(parameter, fmt::format("{}: wanted an integer {}, found {}", parameter, range, value));
}

void check_ids(const char* parameter, const std::vector<TokenId>& ids, std::size_t vocab_size) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && static_cast<std::size_t>(ids[i]) < vocab_size) continue;
    throw RequestError(parameter, fmt::format("{}[{}]: wanted a token id from 0 to {}, found {}", parameter,
                                              i, vocab_size - 1, ids[i]));
  }
}

void check_count(const char* parameter, std::size_t count, std::size_t max) {
  if (count > max) {
    throw RequestError(parameter, fmt::format("{}: wanted at most {}, found {}", parameter, max, count));
  }
}

void check_continuations(const GenerationRequest& request, std::size_t vocab_size) {
  if (request.continuations.empty()) return;
  const auto fail = [](const std::string& message) { throw RequestError("completions", message); };
  for (const std::vector<TokenId>& continuation : request.continuations) {
    if (continuation.empty()) fail("completions: wanted at least one token in each, found none");
    check_ids("completions", continuation, vocab_size);
  }
  if (std::cmp_not_equal(request.continuations.size(), request.num_choices)) {
    fail("completions: wanted one for each choice");
  }
  if (request.max_tokens != 0 || !request.top_log_probs || request.prompt_log_probs || request.best_of != 0) {
    fail("completions: are read with max_tokens 0 and logprobs, without prompt_logprobs and best_of");
  }
}

void check_state(const GenerationRequest& request) {
  if (request.start) {
    const std::int64_t position = request.start->position;
    if (position < 0 || std::cmp_greater_equal(position, request.prompt.size())) {
      throw RequestError("prompt", fmt::format("prompt: wanted tokens to read behind the {} that the state "
                                               "has read, found none",
                                               position));
    }
    if (request.prompt_log_probs) {
      throw RequestError("prompt_logprobs", "prompt_logprobs: a state has none of the tokens it has read");
    }
  }
  if (request.keep_state && (num_sequences(request) != 1 || !request.continuations.empty())) {
    const char* const parameter = request.best_of == 0 ? "n" : "best_of";
    throw RequestError(parameter,
                       fmt::format("{}: the state of one sequence is kept, not of several", parameter));
  }
}

}  // namespace

std::size_t num_given_tokens(const GenerationRequest& request) {
  std::size_t count = request.prompt.size();
  for (const std::vector<TokenId>& continuation : request.continuations) count += continuation.size();
  return count;
}

std::size_t num_tokens_to_read(const GenerationRequest& request, std::size_t given) {
  return request.keep_state && request.max_tokens == 0 ? given - 1 : given;
}

void check_request(const GenerationRequest& request, std::size_t vocab_size) {
  constexpr std::int64_t kUnbounded = std::numeric_limits<std::int64_t>::max();
  if (request.prompt.empty()) {
    throw RequestError("prompt", "prompt: wanted at least one token, found none");
  }
  check_ids("prompt", request.prompt, vocab_size);
  check_range("max_tokens", request.max_tokens, -1, kUnbounded);
  check_range("min_tokens", request.min_tokens, 0, request.max_tokens < 0 ? kUnbounded : request.max_tokens);
  if (request.eos_id) check_ids("eos_id", {*request.eos_id}, vocab_size);
  check_count("stop_token_ids", request.stop_ids.size(), kMaxStopIds);
  check_ids("stop_token_ids", request.stop_ids, vocab_size);
  check_count("stop", request.stop_strings.size(), kMaxStopStrings);
  for (const std::string& stop : request.stop_strings) {
    if (stop.empty()) throw RequestError("stop", "stop: wanted a text, found an empty one");
  }
  check_range("n", request.num_choices, 1, kMaxChoices);
  if (request.best_of != 0) check_range("best_of", request.best_of, request.num_choices, kMaxChoices);
  if (request.top_log_probs) {
    const auto most = std::min(kMaxTopLogProbs, static_cast<std::int64_t>(vocab_size));
    check_range("logprobs", *request.top_log_probs, 0, most);
  }
  if (request.prompt_log_probs && !request.top_log_probs) {
    throw RequestError("prompt_logprobs", "prompt_logprobs: needs logprobs");
  }
  check_continuations(request, vocab_size);
  check_state(request);
  check_range("time_limit", request.time_limit.count(), 0, kMaxTimeLimit.count());
  check_sampling(request.sampling, vocab_size);
}

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::kRunning:
      return "running";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kEndOfText:
    case FinishReason::kStopId:
    case FinishReason::kStopString:
      return "stop";
    case FinishReason::kTimeLimit:
      return "time_limit";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kFailed:
      return "error";
  }
  return "";
}

}  // namespace ttt
