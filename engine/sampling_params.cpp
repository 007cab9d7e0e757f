// SPDX-License-Identifier: Apache-2.0
#include "engine/sampling_params.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>

#include "engine/request_error.h"

namespace ttt {
namespace {

std::string sentence(const SamplingFault& fault) {
  if (fault.is_token) {
    return fmt::format("{} names token {}; the vocabulary has ids from 0 to {}", fault.parameter,
                       static_cast<std::int64_t>(fault.found), static_cast<std::int64_t>(fault.high));
  }
  return fmt::format("{} is {}; it must be in {}{}, {}]", fault.parameter, static_cast<float>(fault.found),
                     fault.low_excluded ? '(' : '[', fault.low, fault.high);
}

bool has_bias_of(const SamplingParams& params, float bias) {
  return std::ranges::find(params.logit_bias, bias, &LogitBias::bias) != params.logit_bias.end();
}

// Which ids the request leaves, by the rules of Sampler.
std::vector<bool> permitted_ids(const SamplingParams& params, std::size_t vocab_size) {
  std::vector<bool> permitted(vocab_size, params.allowed.empty());
  for (const TokenId id : params.allowed) permitted[static_cast<std::size_t>(id)] = true;
  if (has_bias_of(params, 100.0F)) {
    std::vector<bool> exclusive(vocab_size);
    for (const auto& [id, bias] : params.logit_bias) {
      if (bias == 100.0F) exclusive[static_cast<std::size_t>(id)] = permitted[static_cast<std::size_t>(id)];
    }
    permitted.swap(exclusive);
  }
  for (const auto& [id, bias] : params.logit_bias) {
    if (bias == -100.0F) permitted[static_cast<std::size_t>(id)] = false;
  }
  for (const TokenId id : params.banned) permitted[static_cast<std::size_t>(id)] = false;
  return permitted;
}

// What to change where no token is left.
const char* restriction_of(const SamplingParams& params) {
  if (!params.allowed.empty()) return "allowed";
  return params.banned.empty() ? "logit_bias" : "banned";
}

}  // namespace

std::optional<SamplingFault> find_fault(const SamplingParams& params, std::size_t vocab_size) {
  constexpr double kMaxInt = std::numeric_limits<std::int32_t>::max();
  const SamplingFault ranges[] = {
      {"temperature", params.temperature, 0.0, 100.0},
      {"top_k", static_cast<double>(params.top_k), 0.0, kMaxInt},
      {"typical_p", params.typical_p, 0.0, 1.0, true},
      {"top_p", params.top_p, 0.0, 1.0},
      {"min_p", params.min_p, 0.0, 1.0},
      {"repetition_penalty", params.repetition_penalty, 0.0, 100.0, true},
      {"repeat_last_n", static_cast<double>(params.repeat_last_n), -1.0, kMaxInt},
      {"presence_penalty", params.presence_penalty, -2.0, 2.0},
      {"frequency_penalty", params.frequency_penalty, -2.0, 2.0},
  };
  const auto is_kept = [](const SamplingFault& range) {  // NaN fails every comparison
    return range.found <= range.high &&
           (range.low_excluded ? range.found > range.low : range.found >= range.low);
  };
  const auto id_range = [&](const char* parameter, TokenId id) -> SamplingFault {
    return {parameter, static_cast<double>(id), 0.0, static_cast<double>(vocab_size) - 1.0, false, true};
  };
  for (const SamplingFault& range : ranges) {
    if (!is_kept(range)) return range;
  }
  for (const auto& [id, bias] : params.logit_bias) {
    if (const auto range = id_range("logit_bias", id); !is_kept(range)) return range;
    if (const SamplingFault range{"logit_bias", bias, -100.0, 100.0}; !is_kept(range)) return range;
  }
  for (const TokenId id : params.banned) {
    if (const auto range = id_range("banned", id); !is_kept(range)) return range;
  }
  for (const TokenId id : params.allowed) {
    if (const auto range = id_range("allowed", id); !is_kept(range)) return range;
  }
  return std::nullopt;
}

void check_sampling(const SamplingParams& params, std::size_t vocab_size) {
  if (const auto fault = find_fault(params, vocab_size))
    throw RequestError(fault->parameter, sentence(*fault));
  std::vector<TokenId> biased;
  for (const auto& [id, bias] : params.logit_bias) biased.push_back(id);
  std::ranges::sort(biased);
  if (const auto twice = std::ranges::adjacent_find(biased); twice != biased.end()) {
    throw RequestError("logit_bias",
                       fmt::format("logit_bias names token {} twice; name each id once", *twice));
  }
  if (params.logit_bias.empty() && params.banned.empty() && params.allowed.empty()) return;
  if (std::ranges::count(permitted_ids(params, vocab_size), true) == 0) {
    const char* parameter = restriction_of(params);
    throw RequestError(parameter,
                       fmt::format("{} leaves none of the {} tokens, with what banned, allowed and "
                                   "logit_bias ask for together; leave at least one",
                                   parameter, vocab_size));
  }
}

}  // namespace ttt
