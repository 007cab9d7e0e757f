// SPDX-License-Identifier: Apache-2.0
#include "engine/token_counts.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <stdexcept>
#include <utility>
#include <vector>

#include "tests/random.h"

using namespace ttt;

namespace {

using Counts = std::map<TokenId, std::pair<std::uint32_t, std::uint32_t>>;

Counts by_id(const TokenCounts& counts) {
  Counts result;
  for (const auto& [id, in_window, in_output] : counts.counts()) {
    CHECK(result.emplace(id, std::pair(in_window, in_output)).second);  // each id once
  }
  return result;
}

Counts naive_counts(const std::vector<std::pair<TokenId, bool>>& sequence, std::int32_t repeat_last_n) {
  const std::size_t window = repeat_last_n < 0 ? sequence.size() : static_cast<std::size_t>(repeat_last_n);
  Counts result;
  for (std::size_t i = 0; i < sequence.size(); ++i) {
    const auto [id, is_output] = sequence[i];
    if (i + window >= sequence.size()) ++result[id].first;
    if (is_output) ++result[id].second;
  }
  return result;
}

}  // namespace

TEST_CASE("counts are those of the window and of the output, at every token") {
  for (const std::int32_t repeat_last_n : {-1, 0, 1, 2, 7, 64, 1000}) {
    test::Random random(static_cast<std::uint64_t>(repeat_last_n + 5));
    TokenCounts counts(repeat_last_n);
    std::vector<std::pair<TokenId, bool>> sequence;
    CHECK(counts.counts().empty());
    for (int i = 0; i < 200; ++i) {
      sequence.emplace_back(random.below(12), i >= 40);
      counts.push(sequence.back().first, sequence.back().second);
      INFO("repeat_last_n " << repeat_last_n << ", token " << i);
      REQUIRE(by_id(counts) == naive_counts(sequence, repeat_last_n));
    }
  }
}

TEST_CASE("a copy of counts goes on by itself") {
  TokenCounts counts(2);
  counts.push(1, true);
  TokenCounts fork = counts;
  fork.push(2, true);
  fork.push(3, true);
  CHECK(by_id(counts) == Counts{{1, {1, 1}}});
  CHECK(by_id(fork) == Counts{{1, {0, 1}}, {2, {1, 1}}, {3, {1, 1}}});
}

TEST_CASE("an id below 0 is not counted") {
  TokenCounts counts(2);
  CHECK_THROWS_AS(counts.push(-1, false), std::logic_error);
  CHECK(counts.counts().empty());
}
