// SPDX-License-Identifier: Apache-2.0
#include "engine/sampling_params.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "engine/request_error.h"

using namespace ttt;

namespace {

constexpr std::size_t kVocabulary = 10;

// "parameter: message", or "" where the params are accepted.
std::string refusal(const SamplingParams& params) {
  try {
    check_sampling(params, kVocabulary);
    return "";
  } catch (const RequestError& error) {
    return error.parameter + ": " + error.what();
  }
}

struct FloatRange {
  const char* name;
  float SamplingParams::*member;
  float low, high;
  bool low_excluded;
};

}  // namespace

TEST_CASE("each parameter is accepted up to its ends and refused beyond, by name") {
  const FloatRange ranges[] = {
      {"temperature", &SamplingParams::temperature, 0.0F, 100.0F, false},
      {"typical_p", &SamplingParams::typical_p, 0.0F, 1.0F, true},
      {"top_p", &SamplingParams::top_p, 0.0F, 1.0F, false},
      {"min_p", &SamplingParams::min_p, 0.0F, 1.0F, false},
      {"repetition_penalty", &SamplingParams::repetition_penalty, 0.0F, 100.0F, true},
      {"presence_penalty", &SamplingParams::presence_penalty, -2.0F, 2.0F, false},
      {"frequency_penalty", &SamplingParams::frequency_penalty, -2.0F, 2.0F, false},
  };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const FloatRange& range : ranges) {
    INFO(range.name);
    const auto with = [&](float value) {
      SamplingParams params;
      params.*range.member = value;
      return refusal(params);
    };
    const std::string named = std::string(range.name) + ": " + range.name + " is ";
    CHECK(with(range.high).empty());
    CHECK(with(std::nextafter(range.low, kInfinity)).empty());
    CHECK(with(range.low).empty() == !range.low_excluded);
    for (const float value : {std::nextafter(range.low, -kInfinity), std::nextafter(range.high, kInfinity),
                              kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
      CHECK(with(value).starts_with(named));
    }
  }
}

TEST_CASE("a refusal names the range and what was found") {
  CHECK(refusal({.top_p = 1.1F}) == "top_p: top_p is 1.1; it must be in [0, 1]");
  CHECK(refusal({.typical_p = 0.0F}) == "typical_p: typical_p is 0; it must be in (0, 1]");
  CHECK(refusal({.top_k = -1}) == "top_k: top_k is -1; it must be in [0, 2147483647]");
  CHECK(refusal({.repeat_last_n = -2}) ==
        "repeat_last_n: repeat_last_n is -2; it must be in [-1, 2147483647]");
  CHECK(refusal({.repeat_last_n = -1}).empty());
  CHECK(refusal({.logit_bias = {{1, 100.5F}}}) ==
        "logit_bias: logit_bias is 100.5; it must be in [-100, 100]");
  CHECK(refusal({.logit_bias = {{10, 1.0F}}}) ==
        "logit_bias: logit_bias names token 10; the vocabulary has ids from 0 to 9");
  CHECK(refusal({.banned = {-1}}) == "banned: banned names token -1; the vocabulary has ids from 0 to 9");
  CHECK(refusal({.allowed = {3, 10}}) ==
        "allowed: allowed names token 10; the vocabulary has ids from 0 to 9");
  CHECK(refusal({.logit_bias = {{1, 1.0F}, {2, 1.0F}, {1, 2.0F}}}) ==
        "logit_bias: logit_bias names token 1 twice; name each id once");
}

TEST_CASE("bans and permissions that leave no token are refused") {
  const std::vector<TokenId> all = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  CHECK(refusal({.banned = all}).starts_with("banned: "));
  CHECK(refusal({.banned = {all.begin() + 1, all.end()}}).empty());
  CHECK(refusal({.banned = {1, 2}, .allowed = {2, 1, 2}}).starts_with("allowed: "));
  CHECK(refusal({.banned = {1}, .allowed = {2, 1, 2}}).empty());
  CHECK(refusal({.logit_bias = {{1, 100.0F}}, .banned = {1}}).starts_with("banned: "));
  CHECK(refusal({.logit_bias = {{1, 100.0F}, {2, -100.0F}}, .allowed = {2}}).starts_with("allowed: "));
  CHECK(refusal({.logit_bias = {{1, 100.0F}, {2, -100.0F}}, .allowed = {1, 2}}).empty());
  SamplingParams biased;
  for (const TokenId id : all) biased.logit_bias.push_back({id, -100.0F});
  CHECK(refusal(biased).starts_with("logit_bias: "));
}
