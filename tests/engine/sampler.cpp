// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "tests/naive.h"
#include "tests/random.h"

using namespace ttt;

namespace {

std::vector<float> random_logits(std::uint64_t seed, std::size_t size) {
  test::Random random(seed);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = static_cast<float>(3.0 * random.symmetric());
  return logits;
}

std::vector<double> naive_log_probs(const std::vector<float>& logits) {
  return naive::log_softmax(std::vector<double>(logits.begin(), logits.end()));
}

}  // namespace

TEST_CASE("temperature 0 takes the largest logit, ties go to the lowest id") {
  const std::vector<float> logits = {1.0F, 5.0F, 5.0F, -2.0F};
  const TokenLogProb chosen = sample(logits, {}, 17);
  CHECK(chosen.id == 1);
  CHECK(chosen.log_prob == Approx(naive_log_probs(logits)[1]));
}

TEST_CASE("a draw depends on seed, prompt, choice and position, and on nothing else") {
  const double u = uniform_draw(1, 2, 3, 4);
  CHECK(u == uniform_draw(1, 2, 3, 4));
  CHECK(u != uniform_draw(9, 2, 3, 4));
  CHECK(u != uniform_draw(1, 9, 3, 4));
  CHECK(u != uniform_draw(1, 2, 9, 4));
  CHECK(u != uniform_draw(1, 2, 3, 9));
  CHECK(u != uniform_draw(1, 2, 3, 4 + (std::int64_t{1} << 32)));
  CHECK(u != uniform_draw(1 + (std::uint64_t{1} << 32), 2, 3, 4));
}

TEST_CASE("the generator is Philox4x32-10: the published known answers") {
  // Counter and key all zero, and all ones (Random123's known-answer file).
  CHECK(uniform_draw(0, 0, 0, 0) == static_cast<double>(0x6627e8d5e169c58dULL >> 11) * 0x1p-53);
  CHECK(uniform_draw(~0ULL, ~0U, ~0U, -1) == static_cast<double>(0x408f276d41c83b0eULL >> 11) * 0x1p-53);
}

TEST_CASE("draws are uniform") {
  // 100,000 draws into 20 cells: chi-square with 19 degrees of freedom is below 43.8 but for 1 in 1,000.
  std::vector<double> cells(20);
  for (std::int64_t position = 0; position < 100'000; ++position) {
    const double u = uniform_draw(42, 0, 0, position);
    REQUIRE((u >= 0.0 && u < 1.0));
    cells[static_cast<std::size_t>(u * 20.0)] += 1.0;
  }
  double chi_square = 0.0;
  for (const double count : cells) chi_square += (count - 5000.0) * (count - 5000.0) / 5000.0;
  CHECK(chi_square < 43.8);
}

TEST_CASE("tokens are drawn with the probabilities of the softmax at the temperature") {
  const float temperature = GENERATE(0.5F, 1.0F, 2.0F);
  const std::vector<float> logits = {0.0F, 1.0F, -1.0F, 2.0F, 0.5F};
  std::vector<double> scaled;
  for (const float logit : logits)
    scaled.push_back(static_cast<double>(logit) / static_cast<double>(temperature));
  const std::vector<double> expected = naive::log_softmax(scaled);
  constexpr int kDraws = 50'000;
  std::vector<double> counts(logits.size());
  for (int i = 0; i < kDraws; ++i) {
    counts[static_cast<std::size_t>(sample(logits, {.temperature = temperature, .seed = 3}, i).id)] += 1.0;
  }
  double chi_square = 0.0;
  for (std::size_t id = 0; id < logits.size(); ++id) {
    const double wanted = kDraws * std::exp(expected[id]);
    chi_square += (counts[id] - wanted) * (counts[id] - wanted) / wanted;
  }
  CHECK(chi_square < 18.5);  // 4 degrees of freedom, 1 in 1,000
}

TEST_CASE("a tiny temperature takes the largest logit and never fails") {
  const std::vector<float> logits = {-1e30F, 3.0F, 2.9F, 1e4F};
  for (std::int64_t position = 0; position < 100; ++position) {
    CHECK(sample(logits, {.temperature = 1e-6F, .seed = 5}, position).id == 3);
  }
}

TEST_CASE("log-probabilities are those of the unmodified softmax, whatever the temperature") {
  const std::vector<float> logits = random_logits(1, 1000);
  const std::vector<double> expected = naive_log_probs(logits);
  for (std::int64_t position = 0; position < 50; ++position) {
    const TokenLogProb chosen = sample(logits, {.temperature = 1.5F, .seed = 1}, position);
    CHECK(chosen.log_prob == Approx(expected[static_cast<std::size_t>(chosen.id)]).epsilon(1e-6));
  }
}

TEST_CASE("neutral values change no draw") {
  const std::vector<float> logits = random_logits(3, 1000);
  std::vector<TokenCount> counts;
  for (TokenId id = 0; id < 50; ++id) counts.push_back({id, 3, 2});
  for (std::int64_t position = 0; position < 300; ++position) {
    const SamplingParams plain{.temperature = 1.3F, .seed = 2};
    SamplingParams neutral = plain;
    neutral.top_k = 1000;
    neutral.logit_bias = {{7, 0.0F}, {3, 0.0F}};
    REQUIRE(sample(logits, neutral, position, counts).id == sample(logits, plain, position).id);
    neutral.allowed.resize(logits.size());
    std::iota(neutral.allowed.begin(), neutral.allowed.end(), 0);
    REQUIRE(sample(logits, neutral, position, counts).id == sample(logits, plain, position).id);
  }
}

TEST_CASE("plain temperature sampling is the inverse of the cumulative distribution, in order of ids") {
  const std::vector<float> logits = random_logits(4, 500);
  const double temperature = 0.9F;
  const double largest = *std::ranges::max_element(logits);
  double total = 0.0;
  for (const float logit : logits) total += std::exp((logit - largest) / temperature);
  Sampler sampler(logits.size());
  for (std::int64_t position = 0; position < 2000; ++position) {
    const double threshold = uniform_draw(11, 1, 2, position) * total;
    double cumulative = 0.0;
    TokenId id = 0;
    while ((cumulative += std::exp((logits[static_cast<std::size_t>(id)] - largest) / temperature)) <=
           threshold)
      ++id;
    const SamplingParams params{.temperature = 0.9F, .seed = 11, .prompt_index = 1, .choice = 2};
    REQUIRE(sampler.sample(logits, params, {}, {}, position) == id);
  }
}

TEST_CASE("draws follow the distribution that the filters leave") {
  const std::vector<float> logits = {0.0F, 1.0F, -1.0F, 2.0F, 0.5F, 1.5F, -4.0F, 2.5F};
  const TokenCount counts[] = {{7, 1, 1}, {1, 1, 0}};
  SamplingParams params{.temperature = 1.5F,
                        .top_k = 7,
                        .typical_p = 0.95F,
                        .top_p = 0.95F,
                        .min_p = 0.1F,
                        .repetition_penalty = 1.2F,
                        .presence_penalty = 0.4F,
                        .logit_bias = {{0, 1.0F}}};
  params.seed = 21;
  Sampler sampler(logits.size());
  const TokenId banned = 4;
  const auto expected = sampler.distribution(logits, params, counts, {&banned, 1});
  REQUIRE(expected.size() == 5);
  constexpr int kDraws = 50'000;
  std::vector<double> drawn(logits.size());
  for (int i = 0; i < kDraws; ++i)
    drawn[static_cast<std::size_t>(sampler.sample(logits, params, counts, {&banned, 1}, i))] += 1.0;
  double chi_square = 0.0, total = 0.0;
  for (const auto& [id, probability] : expected) {
    const double found = drawn[static_cast<std::size_t>(id)], wanted = kDraws * probability;
    total += found;
    chi_square += (found - wanted) * (found - wanted) / wanted;
  }
  CHECK(total == kDraws);
  CHECK(chi_square < 18.5);  // 4 degrees of freedom, 1 in 1,000
}

TEST_CASE("each filter keeps what its definition says") {
  // Probabilities 1/2, 1/4, 1/8, 1/8, exact in binary.
  const float ln2 = std::log(2.0F);
  const std::vector<float> logits = {-3.0F * ln2, -1.0F * ln2, -3.0F * ln2, -2.0F * ln2};
  const auto kept = [&](SamplingParams params) {
    params.temperature = 1.0F;
    std::vector<TokenId> ids;
    for (const auto& entry : Sampler(4).distribution(logits, params, {}, {})) ids.push_back(entry.id);
    return ids;
  };
  using Ids = std::vector<TokenId>;
  CHECK(kept({}) == Ids{0, 1, 2, 3});
  CHECK(kept({.top_k = 1}) == Ids{1});
  CHECK(kept({.top_k = 3}) == Ids{0, 1, 3});  // of the equal ones the lowest id
  CHECK(kept({.top_k = 9}) == Ids{0, 1, 2, 3});
  CHECK(kept({.top_p = 0.0F}) == Ids{1});
  CHECK(kept({.top_p = 0.49F}) == Ids{1});
  CHECK(kept({.top_p = 0.51F}) == Ids{1, 3});
  CHECK(kept({.top_p = 0.8F}) == Ids{0, 1, 3});
  CHECK(kept({.top_p = 0.88F}) == Ids{0, 1, 2, 3});
  CHECK(kept({.min_p = 0.2F}) == Ids{0, 1, 2, 3});
  CHECK(kept({.min_p = 0.3F}) == Ids{1, 3});
  CHECK(kept({.min_p = 1.0F}) == Ids{1});
  // H = 1.75 ln 2: the surprises 1, 2, 3, 3 (in ln 2) are off by 0.75, 0.25, 1.25, 1.25.
  CHECK(kept({.typical_p = 0.1F}) == Ids{3});
  CHECK(kept({.typical_p = 0.3F}) == Ids{1, 3});
  CHECK(kept({.typical_p = 0.8F}) == Ids{0, 1, 3});
  // Each sees what the one before left, adding up to 1: 2/3 and 1/3.
  CHECK(kept({.top_k = 2, .top_p = 0.6F}) == Ids{1});
  CHECK(kept({.top_k = 2, .top_p = 0.7F}) == Ids{1, 3});
  CHECK(kept({.typical_p = 0.1F, .top_p = 0.1F, .min_p = 1.0F}) == Ids{3});
}

TEST_CASE("bans hold at every temperature, whatever their order, and fall back when they leave nothing") {
  const std::vector<float> logits = {1.0F, 9.0F, 8.0F, 7.0F, 8.0F};
  const std::vector<TokenId> step = {2, 4}, reversed = {4, 2};
  SamplingParams params;
  params.banned = {1};
  CHECK(sample(logits, params, 0).id == 2);
  CHECK(sample(logits, params, 0, {}, step).id == 3);
  params.logit_bias = {{1, 30.0F}, {2, -100.0F}};
  CHECK(sample(logits, params, 0).id == 4);
  params.allowed = {0, 1, 2, 0};
  CHECK(sample(logits, params, 0).id == 0);
  const TokenId zero = 0;
  CHECK(sample(logits, params, 0, {}, {&zero, 1}).id == 0);  // the step's ban would leave nothing
  params.banned = {0, 1};
  CHECK(sample(logits, params, 0, {}, {&zero, 1}).id == 1);  // nor do the request's: the bias of 30
  const SamplingParams exclusive{.logit_bias = {{0, 100.0F}, {3, 100.0F}, {1, 99.0F}}};
  CHECK(sample(logits, exclusive, 0).id == 3);
  for (std::int64_t position = 0; position < 200; ++position) {
    SamplingParams drawn{.temperature = 5.0F, .seed = 9};
    const TokenId id = sample(logits, drawn, position, {}, step).id;
    REQUIRE((id != 2 && id != 4));
    REQUIRE(id == sample(logits, drawn, position, {}, reversed).id);
    REQUIRE((sample(logits, exclusive, position).id == 0 || sample(logits, exclusive, position).id == 3));
  }
}

TEST_CASE("penalties change logits as defined") {
  const std::vector<float> logits = {4.0F, 3.9F, -1.0F, -1.1F};
  const TokenCount said[] = {{0, 1, 0}, {2, 1, 3}};
  const auto greedy = [&](SamplingParams params, std::vector<TokenId> banned = {}) {
    return sample(logits, params, 0, said, banned).id;
  };
  CHECK(greedy({}) == 0);
  CHECK(greedy({.repetition_penalty = 1.1F}) == 1);           // 4 / 1.1
  CHECK(greedy({.repetition_penalty = 1.05F}, {0, 1}) == 2);  // -1.05
  CHECK(greedy({.repetition_penalty = 1.2F}, {0, 1}) == 3);   // -1.2
  CHECK(greedy({.presence_penalty = 2.0F}) == 0);             // 0 is in the prompt alone
  CHECK(greedy({.presence_penalty = 0.2F}, {0, 1}) == 3);
  CHECK(greedy({.frequency_penalty = 0.03F}, {0, 1}) == 2);                      // -1.09
  CHECK(greedy({.frequency_penalty = 0.04F}, {0, 1}) == 3);                      // -1.12
  CHECK(greedy({.frequency_penalty = -2.0F, .logit_bias = {{2, -0.5F}}}) == 2);  // -1.5 + 6
}

TEST_CASE("logits that are not finite give some allowed token") {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<std::vector<float>> rows = {std::vector<float>(40, nan), std::vector<float>(40, inf),
                                          std::vector<float>(40, -inf), random_logits(1, 40),
                                          std::vector<float>(40, 3e38F)};
  for (std::size_t i = 0; i < 40; i += 3) rows[3][i] = i % 2 == 0 ? nan : inf;
  std::vector<SamplingParams> all = {
      {}, {.temperature = 1.0F}, {.temperature = 1e-45F}, {.temperature = 100.0F}};
  all.push_back({.temperature = 1.0F,
                 .top_k = 7,
                 .typical_p = 1e-40F,
                 .top_p = 0.5F,
                 .min_p = 0.5F,
                 .repetition_penalty = 1e-40F,
                 .presence_penalty = 2.0F,
                 .logit_bias = {{0, 50.0F}}});
  all.push_back({.temperature = 1e-45F, .typical_p = 0.5F, .top_p = 0.9F, .repetition_penalty = 100.0F});
  all.push_back({.temperature = 2.0F, .min_p = 0.5F});
  const TokenCount counts[] = {{2, 1, 1}, {5, 1, 0xFFFFFFFFU}, {6, 3, 0}};
  const TokenId banned[] = {0, 1, 39};
  Sampler sampler(40);
  for (const auto& logits : rows) {
    for (const SamplingParams& params : all) {
      for (std::int64_t position = 0; position < 20; ++position) {
        const TokenId id = sampler.sample(logits, params, counts, banned, position);
        REQUIRE((id >= 2 && id < 39));
      }
      REQUIRE(!sampler.distribution(logits, params, counts, banned).empty());
    }
    std::vector<TokenLogProb> top(9);
    top_log_probs(logits, log_sum_exp(logits), top);
    for (const TokenLogProb& entry : top) REQUIRE((entry.id >= 0 && entry.id < 40));
  }
}
