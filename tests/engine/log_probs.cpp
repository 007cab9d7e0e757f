// SPDX-License-Identifier: Apache-2.0
#include "engine/log_probs.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <vector>

#include "tests/naive.h"
#include "tests/random.h"

using namespace ttt;

namespace {

std::vector<float> random_logits(std::uint64_t seed, std::size_t size, double scale) {
  test::Random random(seed);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = static_cast<float>(scale * random.symmetric());
  return logits;
}

std::vector<double> naive_log_probs(const std::vector<float>& logits) {
  return naive::log_softmax(std::vector<double>(logits.begin(), logits.end()));
}

}  // namespace

TEST_CASE("log-probabilities are those of the softmax, for rows of any length and spread") {
  for (const std::size_t size : {1U, 2U, 15U, 16U, 17U, 33U, 511U, 512U, 513U, 2000U}) {
    for (const double scale : {0.0, 0.1, 3.0, 40.0, 1e4}) {
      const std::vector<float> logits = random_logits(size, size, scale);
      const std::vector<double> expected = naive_log_probs(logits);
      const double normaliser = log_sum_exp(logits);
      for (std::size_t id = 0; id < size; ++id) {
        const double found = log_prob(logits, static_cast<TokenId>(id), normaliser);
        INFO(size << " logits, scale " << scale << ", id " << id);
        REQUIRE(std::abs(found - expected[id]) <= 2e-7 * std::max(1.0, std::abs(expected[id])));
      }
    }
  }
}

TEST_CASE("the log-probability of a token that is all but certain keeps its digits") {
  const std::vector<float> logits = {20.0F, 0.0F, -200.0F};
  CHECK(log_prob(logits, 0, log_sum_exp(logits)) == Approx(-std::exp(-20.0)).epsilon(1e-6));
}

TEST_CASE("the top tokens come best first, ties by id, with their log-probabilities") {
  std::vector<float> logits = random_logits(2, 300, 3.0);
  for (std::size_t id = 100; id < 160; ++id) logits[id] = logits[id % 7];  // many ties
  logits[10] = logits[200] = logits[5] = 20.0F;
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](TokenId a, TokenId b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  const std::vector<double> expected = naive_log_probs(logits);
  for (std::size_t n = 0; n <= logits.size(); n += n < 20 ? 1 : 40) {
    std::vector<TokenLogProb> top(n);
    top_log_probs(logits, log_sum_exp(logits), top);
    for (std::size_t i = 0; i < n; ++i) {
      REQUIRE(top[i].id == order[i]);
      REQUIRE(top[i].log_prob == Approx(expected[static_cast<std::size_t>(top[i].id)]).epsilon(1e-6));
    }
  }
}
