// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "engine/best_logits.h"

namespace ttt {
namespace {

constexpr float kBannedLogit = -std::numeric_limits<float>::infinity();

// What is this much less probable, as a logarithm, hardly ever decides where a set ends.
constexpr double kReach = 32.0;

bool is_exclusive(const LogitBias& entry) { return entry.bias >= 100.0F; }

float penalised(float logit, const SamplingParams& params, const TokenCount& count) {
  if (count.in_window > 0 && params.repetition_penalty != 1.0F)
    logit = logit > 0.0F ? logit / params.repetition_penalty : logit * params.repetition_penalty;
  if (count.in_output > 0) {
    logit -= params.presence_penalty;
    logit -= params.frequency_penalty * static_cast<float>(count.in_output);
  }
  return logit;
}

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

}  // namespace

double uniform_draw(std::uint64_t seed, std::uint32_t prompt_index, std::uint32_t choice,
                    std::int64_t position) {
  const auto low = [](std::uint64_t value) { return static_cast<std::uint32_t>(value); };
  const auto at = static_cast<std::uint64_t>(position);
  const auto bits = philox({low(at), low(at >> 32), prompt_index, choice}, {low(seed), low(seed >> 32)});
  const std::uint64_t word = (static_cast<std::uint64_t>(bits[0]) << 32) | bits[1];
  return static_cast<double>(word >> 11) * 0x1p-53;
}

Sampler::Sampler(std::size_t vocab_size)
    : adjusted_(vocab_size), candidates_(vocab_size), order_(vocab_size), keys_(vocab_size) {}

std::size_t Sampler::bytes(std::size_t vocab_size) {
  return vocab_size * (sizeof(float) + sizeof(Candidate) + sizeof(std::uint32_t) + sizeof(double));
}

// Everything but bans: they come last here, so that no penalty lifts a banned logit.
void Sampler::adjust(std::span<const float> logits, const SamplingParams& params,
                     std::span<const TokenCount> counts) {
  row_size_ = logits.size();
  copy_finite(logits, adjusted_.data());
  const auto at = [this](TokenId id) -> float& { return adjusted_[static_cast<std::size_t>(id)]; };
  for (const auto& [id, bias] : params.logit_bias) at(id) += bias;
  for (const TokenCount& count : counts) at(count.id) = finite(penalised(at(count.id), params, count));
}

void Sampler::ban(const SamplingParams& params) {
  const auto at = [this](TokenId id) -> float& { return adjusted_[static_cast<std::size_t>(id)]; };
  const auto keep_only = [this](auto&& mark_all) {
    std::ranges::fill(order_, 0U);
    mark_all();
    for (std::size_t id = 0; id < row_size_; ++id) {
      if (order_[id] == 0) adjusted_[id] = kBannedLogit;
    }
  };
  const auto mark = [this](TokenId id) { order_[static_cast<std::size_t>(id)] = 1; };
  if (!params.allowed.empty()) {
    keep_only([&] { std::ranges::for_each(params.allowed, mark); });
  }
  if (std::ranges::any_of(params.logit_bias, is_exclusive)) {
    keep_only([&] {
      for (const LogitBias& entry : params.logit_bias) {
        if (is_exclusive(entry)) mark(entry.id);
      }
    });
  }
  for (const auto& [id, bias] : params.logit_bias) {
    if (bias <= -100.0F) at(id) = kBannedLogit;
  }
  for (const TokenId id : params.banned) at(id) = kBannedLogit;
}

void Sampler::prepare(std::span<const float> logits, const SamplingParams& params,
                      std::span<const TokenCount> counts, std::span<const TokenId> banned) {
  enum class Bans { kAll, kOfRequest, kNone };
  for (const Bans bans : {Bans::kAll, Bans::kOfRequest, Bans::kNone}) {
    adjust(logits, params, counts);
    if (bans != Bans::kNone) ban(params);
    if (bans == Bans::kAll) {
      for (const TokenId id : banned) adjusted_[static_cast<std::size_t>(id)] = kBannedLogit;
    }
    largest_ = largest_logit(row());
    if (largest_ > kBannedLogit) return;
  }
}

std::size_t Sampler::index_of_largest() const {
  return first_logit_above(row(), std::nextafter(largest_, kBannedLogit));
}

void Sampler::collect(const SamplingParams& params) {
  const auto top_k = static_cast<std::size_t>(params.top_k);
  if (top_k > 0 && top_k < row_size_) {
    collect_best(top_k);
  } else if (params.min_p > 0.0F && params.typical_p == 1.0F && params.top_p == 1.0F) {
    // min_p alone: spare the others an exponential. A little below what min_p keeps, for the roundings.
    const double lowest =
        largest_ + params.temperature * (std::log(static_cast<double>(params.min_p)) - 1e-9);
    collect_above(std::nextafter(static_cast<float>(lowest), kBannedLogit));
  } else {
    collect_above(kBannedLogit);
  }
  for (Candidate& candidate : candidates()) candidate.weight = std::exp(exponent(candidate, params));
}

void Sampler::collect_above(float bound) {
  num_candidates_ = 0;
  for_each_above(row(), 0, bound, [&](std::size_t id, float logit) {
    candidates_[num_candidates_++] = {static_cast<TokenId>(id), logit, 1.0};
    return bound;
  });
}

void Sampler::collect_best(std::size_t count) {
  // Up to here a heap is faster: most logits cost one comparison, yet what enters costs its depth.
  constexpr std::size_t kMostInHeap = 256;
  if (count > kMostInHeap) {
    collect_above(kBannedLogit);
    set_keys_to_logits();
    keep_smallest_set(static_cast<double>(count), std::numeric_limits<double>::infinity());
    return;
  }
  const auto best = std::span(candidates_).first(count);
  select_best<&Candidate::logit>(row(), best);
  const auto banned = std::ranges::find(best, kBannedLogit, &Candidate::logit);
  num_candidates_ = static_cast<std::size_t>(banned - best.begin());
  std::ranges::sort(candidates(), {}, &Candidate::id);
}

void Sampler::set_keys_to_logits() {
  for (std::size_t i = 0; i < num_candidates_; ++i) keys_[i] = -static_cast<double>(candidates_[i].logit);
}

double Sampler::exponent(const Candidate& candidate, const SamplingParams& params) const {
  return (static_cast<double>(candidate.logit) - static_cast<double>(largest_)) / params.temperature;
}

double Sampler::total_weight() {
  double total = 0.0;
  for (const Candidate& candidate : candidates()) total += candidate.weight;
  return total;
}

void Sampler::filter(const SamplingParams& params) {
  if (params.typical_p < 1.0F) keep_typical(params);
  if (params.top_p < 1.0F) keep_top(params.top_p, params.temperature);
  if (params.min_p > 0.0F) {
    const double largest = std::ranges::max(candidates(), {}, &Candidate::weight).weight;
    const double least = params.min_p * largest;
    const auto dropped =
        std::ranges::remove_if(candidates(), [&](const Candidate& c) { return c.weight < least; });
    num_candidates_ -= dropped.size();
  }
}

void Sampler::keep_typical(const SamplingParams& params) {
  const double total = total_weight();
  const double log_total = std::log(total);
  double entropy = 0.0;
  for (const Candidate& c : candidates()) entropy -= c.weight / total * (exponent(c, params) - log_total);
  for (std::size_t i = 0; i < num_candidates_; ++i) {
    keys_[i] = std::abs(log_total - exponent(candidates_[i], params) - entropy);
  }
  keep_smallest_set(params.typical_p * total, kReach);
}

void Sampler::keep_top(double top_p, double temperature) {
  const double total = total_weight();
  set_keys_to_logits();
  keep_smallest_set(top_p * total, kReach * temperature);
}

// Keeps the fewest candidates, by key and id ascending, that together weigh `wanted_weight`. Instead of a
// sort, a search for the last of them: the candidates are weighed in bins of equal width, from the least key
// on over `reach` (the last bin takes what is beyond), and the bin that holds the last one is halved until it
// is found.
void Sampler::keep_smallest_set(double wanted_weight, double reach) {
  constexpr std::size_t kBins = 256;
  const double* keys = keys_.data();
  const auto is_before = [keys](std::uint32_t a, std::uint32_t b) {
    return keys[a] != keys[b] ? keys[a] < keys[b] : a < b;
  };
  const auto [least, most] = std::ranges::minmax(std::span(keys_).first(num_candidates_));
  double bins_per_key = kBins / std::min(most - least, reach);
  if (!std::isfinite(bins_per_key)) bins_per_key = 0.0;  // equal keys
  const auto bin_of = [least = least, bins_per_key](double key) {
    return static_cast<std::size_t>(std::min((key - least) * bins_per_key, kBins - 1.0));
  };
  std::array<double, kBins> bins{};
  for (std::size_t i = 0; i < num_candidates_; ++i) bins[bin_of(keys[i])] += candidates_[i].weight;
  double weight = 0.0;  // of all before `bin`, then before `begin`
  std::size_t bin = 0;
  for (const std::size_t last = bin_of(most); bin < last && weight + bins[bin] < wanted_weight; ++bin)
    weight += bins[bin];
  std::size_t num_ordered = 0;
  for (std::size_t i = 0; i < num_candidates_; ++i) {
    if (bin_of(keys[i]) == bin) order_[num_ordered++] = static_cast<std::uint32_t>(i);
  }
  std::uint32_t* begin = order_.data();
  std::uint32_t* end = begin + num_ordered;
  while (end - begin > 1) {
    std::uint32_t* middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, is_before);
    double with_half = weight;
    for (const std::uint32_t* i = begin; i != middle; ++i) with_half += candidates_[*i].weight;
    if (with_half >= wanted_weight) {
      end = middle;
    } else {
      weight = with_half;
      begin = middle;
    }
  }
  const std::uint32_t last = *begin;
  std::size_t kept = 0;
  for (std::uint32_t i = 0; i < num_candidates_; ++i) {
    if (!is_before(last, i)) candidates_[kept++] = candidates_[i];
  }
  num_candidates_ = kept;
}

TokenId Sampler::sample(std::span<const float> logits, const SamplingParams& params,
                        std::span<const TokenCount> counts, std::span<const TokenId> banned,
                        std::int64_t position) {
  prepare(logits, params, counts, banned);
  if (params.temperature == 0.0F) return static_cast<TokenId>(index_of_largest());
  collect(params);
  filter(params);
  const double threshold =
      uniform_draw(params.seed, params.prompt_index, params.choice, position) * total_weight();
  double cumulative = 0.0;
  for (const Candidate& candidate : candidates()) {
    cumulative += candidate.weight;
    if (cumulative > threshold) return candidate.id;
  }
  return candidates_[num_candidates_ - 1].id;  // not reached: the same sum was the total, and not 0
}

std::vector<TokenProbability> Sampler::distribution(std::span<const float> logits,
                                                    const SamplingParams& params,
                                                    std::span<const TokenCount> counts,
                                                    std::span<const TokenId> banned) {
  prepare(logits, params, counts, banned);
  if (params.temperature == 0.0F) return {{static_cast<TokenId>(index_of_largest()), 1.0}};
  collect(params);
  filter(params);
  const double total = total_weight();
  std::vector<TokenProbability> result;
  for (const Candidate& candidate : candidates()) result.push_back({candidate.id, candidate.weight / total});
  return result;
}

TokenLogProb sample(std::span<const float> logits, const SamplingParams& params, std::int64_t position,
                    std::span<const TokenCount> counts, std::span<const TokenId> banned) {
  const TokenId id = Sampler(logits.size()).sample(logits, params, counts, banned, position);
  return {id, log_prob(logits, id, log_sum_exp(logits))};
}

}  // namespace ttt
