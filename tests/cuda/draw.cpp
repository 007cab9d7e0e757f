// SPDX-License-Identifier: Apache-2.0
// Drawing on the device gives the ids that engine/sampler.h gives.
#include "cuda/kernels/draw.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "engine/sampler.h"
#include "tests/cuda/device_array.h"
#include "tests/random.h"
#include "tests/sanitized.h"

using namespace ttt;

namespace {

// What one row asks.
struct DrawCase {
  std::vector<float> logits;
  SamplingParams params;
  std::vector<TokenCount> counts;
  std::vector<TokenId> banned;
};

template <typename T>
T one_of(test::Random& random, const std::vector<T>& values) {
  return values[random.below(values.size())];
}

DrawCase random_case(test::Random& random, std::size_t vocab_size) {
  DrawCase drawn;
  const bool has_ties = random.below(2) == 0, has_odd_ones = random.below(8) == 0;
  const double spread = one_of<double>(random, {0.1, 1.0, 4.0, 30.0});
  for (std::size_t id = 0; id < vocab_size; ++id) {
    const double logit = spread * (random.symmetric() + random.symmetric());
    drawn.logits.push_back(static_cast<float>(has_ties ? std::round(logit * 2.0) / 2.0 : logit));
  }
  using Limits = std::numeric_limits<float>;
  for (const float odd : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
    if (has_odd_ones) drawn.logits[random.below(vocab_size)] = odd;
  }
  SamplingParams& params = drawn.params;
  params.temperature = one_of<float>(random, {0.0F, 0.01F, 0.7F, 1.0F, 3.0F, 100.0F});
  params.top_k = one_of<std::int32_t>(random, {0, 0, 1, 2, 40, 300, 100'000});
  params.top_p = one_of<float>(random, {0.0F, 0.2F, 0.9F, 0.999F, 1.0F, 1.0F});
  params.min_p = one_of<float>(random, {0.0F, 0.0F, 0.05F, 0.5F, 1.0F});
  params.repetition_penalty = one_of<float>(random, {1.0F, 1.3F, 0.5F});
  params.presence_penalty = one_of<float>(random, {0.0F, 0.4F, -2.0F});
  params.frequency_penalty = one_of<float>(random, {0.0F, 0.1F});
  params.seed = random.bits();
  std::set<TokenId> counted;
  for (std::size_t i = random.below(40); i-- > 0;) counted.insert(random.tokens(1, vocab_size)[0]);
  for (const TokenId id : counted) {
    drawn.counts.push_back(
        {id, static_cast<std::uint32_t>(random.below(3)), static_cast<std::uint32_t>(random.below(4))});
  }
  const std::vector<TokenId> banned =
      random.tokens(one_of<std::size_t>(random, {0, 1, vocab_size / 2}), vocab_size);
  const std::set<TokenId> distinct(banned.begin(), banned.end());
  drawn.banned.assign(distinct.begin(), distinct.end());
  return drawn;
}

std::vector<cuda::DrawnEntry> draw_on_device(const std::vector<DrawCase>& cases) {
  const std::size_t V = cases[0].logits.size();
  std::vector<float> logits;
  std::vector<cuda::CountEntry> counts(1);
  std::vector<std::int32_t> banned(1);
  for (const DrawCase& one : cases) {
    logits.insert(logits.begin(), one.logits.begin(), one.logits.end());  // the last row first
    for (const TokenCount& count : one.counts) counts.push_back({count.id, count.in_window, count.in_output});
    banned.insert(banned.end(), one.banned.begin(), one.banned.end());
  }
  const test::DeviceArray<float> device_logits(logits), adjusted(logits);
  const test::DeviceArray<double> weights(std::vector<double>(logits.size()));
  const test::DeviceArray<cuda::CountEntry> device_counts(counts);
  const test::DeviceArray<std::int32_t> device_banned(banned);
  const test::DeviceArray<cuda::DrawnEntry> drawn(std::vector<cuda::DrawnEntry>(cases.size()));
  std::vector<cuda::DrawEntry> entries;
  std::size_t first_count = 1, first_banned = 1;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const DrawCase& one = cases[i];
    const SamplingParams& params = one.params;
    entries.push_back({.row = static_cast<std::uint32_t>(cases.size() - 1 - i),
                       .top_k = params.top_k,
                       .temperature = params.temperature,
                       .top_p = params.top_p,
                       .min_p = params.min_p,
                       .repetition_penalty = params.repetition_penalty,
                       .presence_penalty = params.presence_penalty,
                       .frequency_penalty = params.frequency_penalty,
                       .uniform = uniform_draw(params.seed, 0, 0, static_cast<std::int64_t>(i)),
                       .counts = device_counts.get() + first_count,
                       .banned = device_banned.get() + first_banned,
                       .num_counts = static_cast<std::uint32_t>(one.counts.size()),
                       .num_banned = static_cast<std::uint32_t>(one.banned.size()),
                       .drawn = drawn.get() + i});
    first_count += one.counts.size();
    first_banned += one.banned.size();
  }
  const test::DeviceArray<cuda::DrawEntry> device_entries(entries);
  cuda::launch_draw({.entries = device_entries.get(),
                     .logits = device_logits.get(),
                     .adjusted = adjusted.get(),
                     .weights = weights.get(),
                     .num_entries = static_cast<std::uint32_t>(cases.size()),
                     .vocab_size = static_cast<std::uint32_t>(V)},
                    nullptr);
  return drawn.read();
}

}  // namespace

TEST_CASE("the device draws the tokens that the host draws") {
  test::Random random(1);
  for (const std::size_t V : {std::size_t{2}, std::size_t{50}, std::size_t{257}, std::size_t{1000}}) {
    Sampler sampler(V);
    for (int round = 0; round < (test::kSanitized ? 1 : 12); ++round) {
      std::vector<DrawCase> cases;
      for (int i = 0; i < (test::kSanitized ? 4 : 24); ++i) cases.push_back(random_case(random, V));
      const std::vector<cuda::DrawnEntry> drawn = draw_on_device(cases);
      for (std::size_t i = 0; i < cases.size(); ++i) {
        const DrawCase& one = cases[i];
        const TokenId wanted =
            sampler.sample(one.logits, one.params, one.counts, one.banned, static_cast<std::int64_t>(i));
        INFO("V " << V << ", temperature " << one.params.temperature << ", top_k " << one.params.top_k
                  << ", top_p " << one.params.top_p << ", min_p " << one.params.min_p);
        REQUIRE(drawn[i].id == wanted);
        const float logit = one.logits[static_cast<std::size_t>(wanted)];
        REQUIRE((drawn[i].logit == logit || std::isnan(logit)));
      }
    }
  }
}

TEST_CASE("draws on the device have the probabilities of their filters") {
  constexpr std::size_t kRows = 64;
  test::Random random(2);
  DrawCase one = random_case(random, 20);
  one.params = {.temperature = 1.0F, .top_k = 12, .top_p = 0.95F, .min_p = 0.01F};
  one.counts.clear();
  one.banned = {3};
  for (std::size_t id = 0; id < 20; ++id) one.logits[id] = static_cast<float>(id % 7) / 2.0F;
  std::vector<int> times(20);
  const int rounds = test::kSanitized ? 1 : 10;
  for (int round = 0; round < rounds; ++round) {
    std::vector<DrawCase> cases(kRows, one);
    for (DrawCase& each : cases) each.params.seed = random.bits();
    for (const cuda::DrawnEntry& drawn : draw_on_device(cases)) ++times[static_cast<std::size_t>(drawn.id)];
  }
  const double count = static_cast<double>(rounds) * kRows;
  std::vector<double> probabilities(20);
  for (const auto& [id, probability] : Sampler(20).distribution(one.logits, one.params, {}, one.banned)) {
    probabilities[static_cast<std::size_t>(id)] = probability;
  }
  for (std::size_t id = 0; id < 20; ++id) {
    if (probabilities[id] == 0.0) CHECK(times[id] == 0);
    // Five standard deviations of a binomial distribution, and one draw.
    const double expected = probabilities[id] * count;
    CHECK(std::abs(times[id] - expected) <= 5.0 * std::sqrt(expected * (1.0 - probabilities[id])) + 1.0);
  }
}
