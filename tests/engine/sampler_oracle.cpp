// SPDX-License-Identifier: Apache-2.0
// The sampler against the cases of sampler_oracle.py, which was written from the definitions alone.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "engine/sampler.h"
#include "tests/random.h"

using namespace ttt;

namespace {

struct OracleCase {
  std::size_t vocab_size = 0;
  std::vector<float> logits;
  SamplingParams params;
  std::int64_t position = 0;
  std::vector<TokenCount> counts;
  std::vector<TokenId> step_banned;
  std::size_t num_kept = 0;
  std::uint64_t kept_hash = 0;
  TokenId drawn = -1;
  double probability = 0.0;
};

// make_logits() of the script.
std::vector<float> make_logits(const std::string& kind, std::uint64_t seed, std::size_t size) {
  constexpr float kExtremes[] = {-3e38F, -1e4F, -50.0F, 0.0F, 7.0F, 7.5F, 8.0F, 1e4F};
  test::Random random(seed);
  std::vector<float> logits(size);
  for (float& logit : logits) {
    const std::uint64_t bits = random.bits();
    if (kind == "grid") {
      logit = (static_cast<float>(bits % 257) - 128.0F) * 0.0625F;
    } else if (kind == "fine") {
      logit = (static_cast<float>(bits >> 40) - 0x1p23F) * 0x1p-20F;
    } else {
      logit = kind == "extreme" ? kExtremes[bits % 8] : 1.25F;
    }
  }
  return logits;
}

std::vector<TokenId> parse_ids(std::istream& line) {
  std::string text;
  line >> text;
  std::vector<TokenId> ids;
  if (text == "-") return ids;
  std::istringstream parts(text);
  for (std::string id; std::getline(parts, id, ',');) ids.push_back(std::stoi(id));
  return ids;
}

std::vector<LogitBias> parse_bias(std::istream& line) {
  std::string text;
  line >> text;
  std::vector<LogitBias> result;
  if (text == "-") return result;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');)
    result.push_back({std::stoi(part), std::stof(part.substr(part.find(':') + 1))});
  return result;
}

OracleCase parse_case(const std::string& text) {
  std::istringstream line(text);
  OracleCase c;
  SamplingParams& p = c.params;
  std::string kind;
  std::uint64_t logits_seed = 0, history_seed = 0;
  std::size_t history = 0, output = 0;
  line >> c.vocab_size >> kind >> logits_seed >> p.temperature >> p.top_k >> p.typical_p >> p.top_p >>
      p.min_p >> p.repetition_penalty >> p.repeat_last_n >> p.presence_penalty >> p.frequency_penalty >>
      p.seed >> p.prompt_index >> p.choice >> c.position >> history_seed >> history >> output;
  p.logit_bias = parse_bias(line);
  p.banned = parse_ids(line);
  p.allowed = parse_ids(line);
  c.step_banned = parse_ids(line);
  line >> c.num_kept >> std::hex >> c.kept_hash >> std::dec >> c.drawn >> c.probability;
  REQUIRE(line);
  c.logits = make_logits(kind, logits_seed, c.vocab_size);
  TokenCounts counts(p.repeat_last_n);
  test::Random random(history_seed);
  for (std::size_t i = 0; i < history; ++i) {
    counts.push(static_cast<TokenId>(random.below(std::min<std::size_t>(c.vocab_size, 40))),
                i >= history - output);
  }
  c.counts.assign(counts.counts().begin(), counts.counts().end());
  return c;
}

// FNV-1a over the ids as 32-bit words.
std::uint64_t hash_of(const std::vector<TokenProbability>& kept) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const auto& [id, probability] : kept) hash = (hash ^ static_cast<std::uint64_t>(id)) * 0x100000001B3U;
  return hash;
}

}  // namespace

TEST_CASE("the sampler keeps and draws what the float64 oracle does") {
  std::ifstream file(TTT_TEST_DATA "/engine/sampler_cases.txt");
  std::size_t num_cases = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    INFO(line);
    const OracleCase c = parse_case(line);
    REQUIRE_NOTHROW(check_sampling(c.params, c.vocab_size));
    Sampler sampler(c.vocab_size);
    const auto kept = sampler.distribution(c.logits, c.params, c.counts, c.step_banned);
    CHECK(kept.size() == c.num_kept);
    CHECK(hash_of(kept) == c.kept_hash);
    double total = 0.0;
    for (const auto& [id, probability] : kept) {
      total += probability;
      // Penalties round in fp32: up to 2^-24 of a logit of 1e4, over a temperature.
      if (id == c.drawn) CHECK(probability == Approx(c.probability).epsilon(1e-3));
    }
    CHECK(total == Approx(1.0));
    CHECK(sampler.sample(c.logits, c.params, c.counts, c.step_banned, c.position) == c.drawn);
    ++num_cases;
  }
  CHECK(num_cases >= 1200);
}
