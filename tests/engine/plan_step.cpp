// SPDX-License-Identifier: Apache-2.0
#include "engine/plan_step.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <string>
#include <vector>

#include "tests/random.h"

using namespace ttt;

namespace {

using Loads = std::vector<SequenceLoad>;
using Plan = std::vector<PlannedSegment>;

constexpr SequenceLoad kDecoding{100, 0, 0};
SequenceLoad decoding_since(std::uint64_t last_step) { return {100, 0, last_step}; }
SequenceLoad prompt(std::size_t left, std::int64_t position = 0, std::uint64_t last_step = 0) {
  return {position, left, last_step};
}

Plan plan_of(const Loads& loads, const StepBudget& budget) {
  Plan plan = {{99, 99}};
  plan_step(loads, budget, plan);
  return plan;
}

}  // namespace

namespace Catch {
template <>
struct StringMaker<PlannedSegment> {
  static std::string convert(const PlannedSegment& p) {
    return "{" + std::to_string(p.sequence) + ", " + std::to_string(p.num_tokens) + "}";
  }
};
}  // namespace Catch

TEST_CASE("what a step reads, by situation") {
  struct Case {
    const char* situation;
    Loads loads;
    StepBudget budget;
    Plan plan;
  };
  const StepBudget wide{512, 512, 16};
  const std::vector<Case> cases = {
      {"nobody", {}, wide, {}},
      {"one decodes", {kDecoding}, wide, {{0, 1}}},
      {"one short prompt", {prompt(7)}, wide, {{0, 7}}},
      {"a prompt of one token", {prompt(1)}, wide, {{0, 1}}},
      {"a long prompt takes the budget", {prompt(5000)}, wide, {{0, 512}}},
      {"its part ends with a mini-batch", {prompt(5000, 5)}, wide, {{0, 507}}},
      {"the rest of a prompt need not", {prompt(20, 480)}, wide, {{0, 20}}},
      {"decoding comes first", {prompt(5000), kDecoding}, wide, {{1, 1}, {0, 496}}},
      {"a prompt beside decoding is bounded", {prompt(5000), kDecoding}, {512, 64, 16}, {{1, 1}, {0, 64}}},
      {"but not alone", {prompt(5000), prompt(5000)}, {512, 64, 16}, {{0, 256}, {1, 256}}},
      {"a short prompt leaves its room", {prompt(5000), prompt(8)}, wide, {{1, 8}, {0, 496}}},
      {"a prompt that ends is hurried", {prompt(5000), prompt(8)}, {512, 128, 16}, {{1, 8}, {0, 112}}},
      {"a long end is not cut", {prompt(5000), prompt(200)}, {512, 128, 16}, {{1, 200}, {0, 16}}},
      {"nobody is hurried where all end", {prompt(200), prompt(100)}, {512, 128, 16}, {{1, 100}, {0, 200}}},
      {"as many prompts as mini-batches fit",
       {prompt(90), prompt(90), prompt(90)},
       {32, 32, 16},
       {{0, 16}, {1, 16}}},
      {"those that waited longest",
       {prompt(90, 0, 7), prompt(90, 0, 9), prompt(90, 0, 6)},
       {32, 32, 16},
       {{2, 16}, {0, 16}}},
      {"more decode than fit",
       {decoding_since(5), decoding_since(5), decoding_since(6), decoding_since(6), decoding_since(4)},
       {3, 3, 16},
       {{4, 1}, {0, 1}, {1, 1}}},
      {"decoding leaves room for a prompt",
       {kDecoding, kDecoding, kDecoding, kDecoding, prompt(9)},
       {4, 4, 16},
       {{0, 1}, {1, 1}, {2, 1}, {4, 1}}},
      {"two tokens, one of each", {kDecoding, prompt(9)}, {2, 2, 16}, {{0, 1}, {1, 1}}},
      {"a budget below a mini-batch", {prompt(9), prompt(9)}, {6, 6, 16}, {{0, 6}}},
  };
  for (const Case& c : cases) {
    INFO(c.situation);
    CHECK(plan_of(c.loads, c.budget) == c.plan);
  }
}

TEST_CASE("any plan keeps the budget, serves nobody twice and leaves no room unused for want of sharing") {
  test::Random random(5);
  for (int trial = 0; trial < 20'000; ++trial) {
    Loads loads(random.between(1, 40));
    for (SequenceLoad& load : loads) {
      load = {static_cast<std::int64_t>(random.below(100)),
              random.below(2) == 0 ? 0 : random.between(1, 1 + random.below(300)), random.below(9)};
    }
    const StepBudget budget{random.between(2, 200), random.between(1, 200), random.between(1, 32)};
    const Plan plan = plan_of(loads, budget);
    std::set<std::size_t> served;
    std::size_t decoded = 0;
    std::size_t read = 0;
    for (const auto& [sequence, num_tokens] : plan) {
      REQUIRE(sequence < loads.size());
      REQUIRE(served.insert(sequence).second);
      REQUIRE(num_tokens >= 1);
      const std::size_t left = loads[sequence].prompt_left;
      REQUIRE(num_tokens <= std::max<std::size_t>(left, 1));
      (left == 0 ? decoded : read) += num_tokens;
    }
    const auto decoding = static_cast<std::size_t>(
        std::ranges::count_if(loads, [](const SequenceLoad& load) { return load.prompt_left == 0; }));
    REQUIRE(decoded + read <= budget.tokens);
    if (decoded > 0) REQUIRE(read <= budget.prefill_beside_decode);
    if (decoding > 0) REQUIRE(decoded > 0);
    if (decoding < loads.size()) REQUIRE(read > 0);
    if (decoding == loads.size()) REQUIRE(decoded == std::min(decoding, budget.tokens));
    std::size_t unfinished = 0;
    std::size_t ending = 0;  // tokens
    for (const auto& [sequence, num_tokens] : plan) {
      if (num_tokens < loads[sequence].prompt_left) ++unfinished;
      if (num_tokens == loads[sequence].prompt_left) ending += num_tokens;
    }
    std::size_t room =
        std::min(budget.tokens - decoded, decoded > 0 ? budget.prefill_beside_decode : budget.tokens);
    if (decoded == 0 && ending > 0 &&
        unfinished > 0) {  // a mini-batch each, or what is left beside the endings
      const std::size_t least = ending + unfinished * budget.mini_batch_size;
      REQUIRE(read <= std::max(budget.prefill_beside_decode, least));
      room = std::min(room, std::max(budget.prefill_beside_decode, ending));
    }
    // What is left over is less than a mini-batch for each prompt that wanted more.
    if (unfinished > 0 && room > read) REQUIRE(room - read < unfinished * budget.mini_batch_size);
  }
}

TEST_CASE("a sequence is served every s steps of s sequences or oftener, whoever comes and goes") {
  test::Random random(8);
  for (int trial = 0; trial < 300; ++trial) {
    const std::size_t num_slots = random.between(1, 8);
    const StepBudget budget{random.between(2, 40), random.between(1, 40), 16};
    Loads loads(num_slots);
    for (std::uint64_t step = 1; step < 200; ++step) {
      for (const auto& [sequence, num_tokens] : plan_of(loads, budget)) {
        SequenceLoad& load = loads[sequence];
        // Often it ends and a new one, of one step, takes its place.
        load = random.below(3) == 0 ? SequenceLoad{0, random.between(1, 3), step}
                                    : SequenceLoad{0, random.below(2) * 1'000, step};
      }
      for (const SequenceLoad& load : loads) REQUIRE(step - load.last_step < num_slots);
    }
  }
}
