// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.h"

#include <catch2/catch.hpp>
#include <cmath>
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

TEST_CASE("the top tokens come best first, ties by id, with their log-probabilities") {
  std::vector<float> logits = random_logits(2, 300);
  logits[10] = logits[200] = logits[5] = 20.0F;
  const std::vector<double> expected = naive_log_probs(logits);
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{7}, logits.size()}) {
    std::vector<TokenLogProb> top(n);
    top_log_probs(logits, top);
    for (std::size_t i = 0; i < n; ++i) {
      const auto id = static_cast<std::size_t>(top[i].id);
      CHECK(top[i].log_prob == Approx(expected[id]).epsilon(1e-6));
      if (i == 0) continue;
      const auto before = static_cast<std::size_t>(top[i - 1].id);
      CHECK((logits[before] > logits[id] || (logits[before] == logits[id] && before < id)));
    }
    if (n == 7) CHECK((top[0].id == 5 && top[1].id == 10 && top[2].id == 200));
  }
}
