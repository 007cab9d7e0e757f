// SPDX-License-Identifier: Apache-2.0
// Requests that begin where another ended, and those whose end is kept: over a simulated backend.
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/request_error.h"
#include "engine/scheduler.h"
#include "tests/engine/scheduler_world.h"
#include "tests/random.h"

using namespace ttt;
using test::alone;
using test::check_same;
using test::Outcome;
using test::random_request;
using test::simple_request;
using test::World;

namespace {

// With what a state can go along with.
GenerationRequest random_single(test::Random& random) {
  GenerationRequest request = random_request(random, 1);
  request.continuations.clear();
  request.prompt_log_probs = false;
  return request;
}

// The prompt and what was drawn, without a token that ended the text.
std::vector<TokenId> sequence_of(const GenerationRequest& request, const Outcome::Choice& choice) {
  std::vector<TokenId> tokens = request.prompt;
  for (const TokenInfo& token : choice.tokens) tokens.push_back(token.id);
  const FinishReason reason = choice.finish.reason;
  if (reason == FinishReason::kEndOfText || reason == FinishReason::kStopId) tokens.pop_back();
  return tokens;
}

}  // namespace

TEST_CASE("a sequence goes on from its state as if all of it had been read again") {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    INFO("seed " << seed);
    test::Random random(seed);
    World world(4, random.between(2, 80));
    GenerationRequest first = random_single(random);
    first.keep_state = true;
    const auto stranger = world.submit(random_request(random, 3));
    const auto begun = world.submit(first);
    for (std::size_t steps = random.below(2) == 0 ? random.below(20) : 1'000; steps > 0; --steps)
      world.scheduler.step();
    begun.stream->cancel();  // perhaps in the middle of the prompt
    world.run();
    const Outcome::Choice ended = begun.outcome().choices[0];
    if (ended.finish.state == nullptr) {  // it never began
      CHECK(ended.finish.reason == FinishReason::kCancelled);
      continue;
    }
    GenerationRequest second = random_single(random);
    std::vector<TokenId> tokens = sequence_of(first, ended);
    REQUIRE(ended.finish.state->position <= static_cast<std::int64_t>(tokens.size()));
    if (ended.finish.reason == FinishReason::kLength) {
      CHECK(ended.finish.state->position + 1 == static_cast<std::int64_t>(tokens.size()));
    }
    if (random.below(2) == 0 && ended.finish.reason == FinishReason::kLength) {
      second.prompt.clear();  // goes on without another word
      if (second.max_tokens == 0) second.max_tokens = 1;
    }
    second.prompt.insert(second.prompt.begin(), tokens.begin(), tokens.end());
    second.num_choices = static_cast<std::int64_t>(random.between(1, 4));
    second.best_of = 0;
    const Outcome truth = alone(second);
    second.start = ended.finish.state;
    const auto goes_on = world.submit(second);
    const auto beside = world.submit(random_request(random, 3));
    world.run();
    check_same(goes_on.outcome(), truth);
    check_same(beside.outcome(), alone(*beside.request));
    check_same(stranger.outcome(), alone(*stranger.request));
  }
}

TEST_CASE("where nothing is to be read, the state is the one that the request began with") {
  World world(1, 64);
  GenerationRequest request = simple_request(1, 0);
  request.keep_state = true;
  for (int i = 0; i < 2; ++i) {
    const auto submitted = world.submit(request);
    world.run();
    const Finish finish = submitted.outcome().choices[0].finish;
    CHECK(finish.reason == FinishReason::kLength);
    REQUIRE(finish.state != nullptr);
    CHECK(finish.state->position == 0);
    request.start = finish.state;
  }
  CHECK(world.backend.num_steps() == 0);
}

TEST_CASE("what a state has read is not read again, by one continuation or by several") {
  World world(4, 64);
  GenerationRequest request = simple_request(100, 0);
  request.keep_state = true;
  const auto begun = world.submit(request);
  world.run();
  request.start = begun.outcome().choices[0].finish.state;
  REQUIRE(request.start != nullptr);
  CHECK(request.start->position == 99);
  request.keep_state = false;
  request.prompt.insert(request.prompt.end(), 5, 8);
  std::size_t tokens = 0;
  world.backend.on_step = [&](std::span<const Segment> batch) {
    for (const Segment& segment : batch) tokens += segment.num_tokens();
  };
  world.submit(request);
  world.run();
  CHECK(tokens == 6);
  request.num_choices = 3;
  world.submit(request);
  world.run();
  CHECK(tokens == 6 + 5 + 3);  // each reads the last by itself
}

TEST_CASE("a state that does not go with a request is refused") {
  const World world(4, 64);
  const auto refused = [&](const GenerationRequest& request, const std::string& parameter) {
    try {
      world.scheduler.check(request);
      return false;
    } catch (const RequestError& error) {
      return error.parameter == parameter;
    }
  };
  GenerationRequest request = simple_request(10, 5);
  const auto start_at = [](std::int64_t position) {
    return std::make_shared<const SequenceState>(SequenceState{position, {}});
  };
  request.start = start_at(9);
  CHECK_NOTHROW(world.scheduler.check(request));
  for (const std::int64_t position : {std::int64_t{-1}, std::int64_t{10}, std::int64_t{11}}) {
    request.start = start_at(position);
    CHECK(refused(request, "prompt"));
  }
  request.start = start_at(9);
  request.max_tokens = 0;
  request.keep_state = true;  // which leaves the tenth token to others: nothing is to be read
  CHECK_NOTHROW(world.scheduler.check(request));
  request.num_choices = 2;
  CHECK(refused(request, "n"));
  request.num_choices = 1;
  request.top_log_probs = 0;
  request.prompt_log_probs = true;
  CHECK(refused(request, "prompt_logprobs"));
}

TEST_CASE("a state that cannot be loaded fails its request and nothing else") {
  World world(2, 64);
  GenerationRequest request = simple_request(40, 5);
  request.start = std::make_shared<const SequenceState>(SequenceState{8, std::vector<std::byte>(3)});
  const auto broken = world.submit(request);
  const auto sound = world.submit(simple_request(100, 5, 3));
  world.run();
  const Finish finish = broken.outcome().choices[0].finish;
  CHECK(finish.reason == FinishReason::kFailed);
  CHECK(finish.error.find("wrong size") != std::string::npos);
  check_same(sound.outcome(), alone(*sound.request));
}

TEST_CASE("a state that cannot be saved fails its request; all, where the device is lost with it") {
  for (const bool lost : {false, true}) {
    World world(2, 64);
    world.backend.on_save = [&] {
      if (lost) throw DeviceLost("it burns");
      throw std::runtime_error("it is full");
    };
    GenerationRequest request = simple_request(40, 5);
    request.keep_state = true;
    const auto broken = world.submit(request);
    const auto beside = world.submit(simple_request(100, 50, 3));
    world.run();
    const Finish finish = broken.outcome().choices[0].finish;
    CHECK(finish.reason == FinishReason::kFailed);
    CHECK(finish.error == (lost ? "it burns" : "it is full"));
    CHECK(finish.device_lost == lost);
    CHECK(finish.state == nullptr);
    const Outcome other = beside.outcome();
    CHECK(other.choices[0].finish.device_lost == lost);
    if (!lost) check_same(other, alone(*beside.request));
  }
}
