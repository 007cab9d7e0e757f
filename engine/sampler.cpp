// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace ttt {
namespace {

// Philox4x32-10: ten rounds of two 32x32 -> 64 bit products, keyed by two words that grow each round.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53U;
  constexpr std::uint64_t kMultiplier1 = 0xCD9E8D57U;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = kMultiplier0 * counter[0];
    const std::uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<std::uint32_t>(product0)};
    key[0] += 0x9E3779B9U;
    key[1] += 0xBB67AE85U;
  }
  return counter;
}

std::size_t index_of_largest(std::span<const float> logits) {
  return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// The smallest id whose cumulative weight exp((logit - max) / temperature) exceeds u of the total.
std::size_t draw(std::span<const float> logits, float temperature, double u) {
  const double largest = logits[index_of_largest(logits)];
  const auto weight = [&](float logit) {
    return std::exp((static_cast<double>(logit) - largest) / temperature);
  };
  double total = 0.0;
  for (const float logit : logits) total += weight(logit);
  const double threshold = u * total;
  double cumulative = 0.0;
  std::size_t last_possible = 0;
  for (std::size_t id = 0; id < logits.size(); ++id) {
    const double w = weight(logits[id]);
    cumulative += w;
    if (cumulative > threshold) return id;
    if (w > 0.0) last_possible = id;
  }
  return last_possible;  // not reached for u < 1: the same sum was the total
}

}  // namespace

double uniform_draw(std::uint64_t seed, std::uint32_t prompt_index, std::uint32_t choice,
                    std::int64_t position) {
  const auto low = [](std::uint64_t value) { return static_cast<std::uint32_t>(value); };
  const auto at = static_cast<std::uint64_t>(position);
  const auto bits = philox({low(at), low(at >> 32), prompt_index, choice}, {low(seed), low(seed >> 32)});
  const std::uint64_t word = (static_cast<std::uint64_t>(bits[0]) << 32) | bits[1];
  return static_cast<double>(word >> 11) * 0x1p-53;
}

double log_sum_exp(std::span<const float> logits) {
  const double largest = logits[index_of_largest(logits)];
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return largest + std::log(sum);
}

TokenLogProb sample(std::span<const float> logits, const SamplingParams& params, std::int64_t position) {
  const std::size_t id = params.temperature == 0.0F
                             ? index_of_largest(logits)
                             : draw(logits, params.temperature,
                                    uniform_draw(params.seed, params.prompt_index, params.choice, position));
  return {static_cast<TokenId>(id),
          static_cast<float>(static_cast<double>(logits[id]) - log_sum_exp(logits))};
}

void top_log_probs(std::span<const float> logits, std::span<TokenLogProb> out) {
  if (out.empty()) return;
  // Insertion into a short sorted list: n is at most a few dozen. A later id never passes an equal one.
  std::size_t count = 0;
  for (std::size_t id = 0; id < logits.size(); ++id) {
    if (count == out.size() && !(logits[id] > out[count - 1].log_prob)) continue;
    std::size_t place = count < out.size() ? count++ : count - 1;
    for (; place > 0 && logits[id] > out[place - 1].log_prob; --place) out[place] = out[place - 1];
    out[place] = {static_cast<TokenId>(id), logits[id]};
  }
  const double normaliser = log_sum_exp(logits);
  for (TokenLogProb& entry : out)
    entry.log_prob = static_cast<float>(static_cast<double>(entry.log_prob) - normaliser);
}

}  // namespace ttt
