// SPDX-License-Identifier: Apache-2.0
// The scheduler over a simulated backend, in virtual time: a request gets exactly what it would get alone,
// and waits no longer than its turn.
#include "engine/scheduler.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/request_error.h"
#include "tests/engine/scheduler_world.h"
#include "tests/random.h"

using namespace ttt;
using std::chrono::milliseconds;
using test::alone;
using test::check_prefix;
using test::check_same;
using test::Outcome;
using test::random_request;
using test::simple_request;
using test::World;

TEST_CASE("a request gets what it would get alone, with one choice and with many") {
  test::Random random(11);
  for (int trial = 0; trial < 100; ++trial) {
    World world(4, 32);
    const World::Submitted submitted = world.submit(random_request(random, 4));
    world.run();
    check_same(submitted.outcome(), alone(*submitted.request));
  }
}

TEST_CASE("1,000 random traces: same results as alone, first come first admitted, nobody starves") {
  std::size_t num_requests = 0;
  for (std::uint64_t seed = 1; seed <= 1'000; ++seed) {
    INFO("seed " << seed);
    test::Random random(seed);
    const std::size_t num_slots = random.between(1, 6);
    SchedulerOptions options;
    options.prefill_beside_decode = random.below(2) == 0 ? 0 : random.between(1, 48);
    World world(num_slots, random.between(2, 80), options);
    const bool may_fail = random.below(4) == 0;
    world.backend.on_step = [&](std::span<const Segment>) {
      if (may_fail && random.below(40) == 0) throw std::runtime_error("the device is gone");
    };
    struct Sent : World::Submitted {
      bool cancelled = false;
    };
    std::vector<Sent> sent;
    const std::size_t count = random.between(1, 9);
    while (sent.size() < count || !world.scheduler.idle()) {
      if (sent.size() < count && random.below(3) == 0) {
        GenerationRequest request = random_request(random, num_slots);
        if (random.below(8) == 0) request.time_limit = milliseconds(random.between(1, 2'000));
        sent.push_back({world.submit(std::move(request)), false});
      }
      if (!sent.empty() && random.below(60) == 0) {
        Sent& victim = sent[random.below(sent.size())];
        victim.stream->cancel();
        victim.cancelled = true;
      }
      world.scheduler.step();
      if (random.below(10) == 0) world.backend.pass_time(std::chrono::microseconds(random.below(200'000)));
    }
    num_requests += sent.size();
    for (const Sent& one : sent) {
      const Outcome outcome = one.outcome();
      REQUIRE(one.stream->exhausted());
      const Outcome truth = alone(*one.request);
      // Which are the best is known of all candidates alone; the cut-off ones may be among the unseen.
      const bool ranked = one.request->best_of > one.request->num_choices;
      const bool may_be_cut = one.cancelled || one.request->time_limit.count() > 0 || may_fail;
      if (ranked && may_be_cut) continue;
      const bool whole = std::ranges::none_of(outcome.choices, [](const Outcome::Choice& choice) {
        return choice.finish.reason == FinishReason::kCancelled ||
               choice.finish.reason == FinishReason::kTimeLimit ||
               choice.finish.reason == FinishReason::kFailed;
      });
      if (whole) {
        check_same(outcome, truth);
      } else {
        check_prefix(outcome, truth);
        for (const Outcome::Choice& choice : outcome.choices) {
          if (choice.finish.reason == FinishReason::kCancelled) CHECK(one.cancelled);
          if (choice.finish.reason == FinishReason::kTimeLimit) CHECK(one.request->time_limit.count() > 0);
          if (choice.finish.reason == FinishReason::kFailed)
            CHECK(choice.finish.error == "the device is gone");
        }
      }
    }
    // At the worst a step serves one sequence, and every other slot's comes before.
    CHECK(world.backend.longest_wait() <= num_slots);
  }
  CHECK(num_requests > 4'000);
}

TEST_CASE("requests are admitted in the order in which they came") {
  test::Random random(3);
  for (int trial = 0; trial < 50; ++trial) {
    World world(3, 16);
    std::vector<World::Submitted> sent;
    for (int i = 0; i < 12; ++i) sent.push_back(world.submit(random_request(random, 3)));
    std::size_t next = 0;
    while (!world.scheduler.idle()) {
      world.scheduler.step();
      while (next < sent.size() && sent[next].stream->prompt_tokens_read() > 0) ++next;
      for (std::size_t i = next; i < sent.size(); ++i) {
        // A later one may have run in this step only if all before it were admitted, read or not.
        if (sent[i].stream->prompt_tokens_read() == 0) continue;
        CHECK(sent.size() - world.scheduler.num_waiting() > i);
      }
    }
  }
}

TEST_CASE("a long prompt does not hold up one that decodes") {
  World world(2, 64, {.prefill_beside_decode = 16});
  const auto decoding = world.submit(simple_request(1, 200));
  world.scheduler.step();
  const auto prompt = world.submit(simple_request(5'000, 1));
  std::size_t tokens = 0;
  while (prompt.stream->prompt_tokens_read() < 1'000) {
    world.scheduler.step();
    const auto event = decoding.stream->try_pop();
    REQUIRE(event);  // a token in every step
    ++tokens;
  }
  CHECK(tokens >= 1'000 / 16);
}

TEST_CASE("the prompt of several choices is read once") {
  World world(4, 64);
  std::size_t tokens_read = 0;
  world.backend.on_step = [&](std::span<const Segment> batch) {
    for (const Segment& segment : batch) tokens_read += segment.num_tokens();
  };
  GenerationRequest request = simple_request(1'000, 1);
  request.num_choices = 4;
  world.submit(request);
  world.run();
  CHECK(tokens_read == 999 + 4);
}

TEST_CASE("given continuations are scored as parts of one text, their prompt is read once") {
  World world(4, 64);
  std::size_t tokens_read = 0;
  world.backend.on_step = [&](std::span<const Segment> batch) {
    for (const Segment& segment : batch) tokens_read += segment.num_tokens();
  };
  GenerationRequest request = simple_request(100, 0);
  request.top_log_probs = 1;
  request.num_choices = 3;
  request.continuations = {{1}, {2, 3, 4}, std::vector<TokenId>(70, 5)};
  const World::Submitted submitted = world.submit(request);
  world.run();
  CHECK(tokens_read == 99 + 3 + 1 + 3 + 70);
  const Outcome outcome = submitted.outcome();
  for (std::size_t i = 0; i < 3; ++i) {
    GenerationRequest whole = simple_request(100, 0);
    whole.top_log_probs = 1;
    whole.prompt_log_probs = true;
    whole.prompt.insert(whole.prompt.end(), request.continuations[i].begin(), request.continuations[i].end());
    const std::vector<TokenInfo> all = alone(whole).prompt_tokens;
    CHECK(outcome.choices[i].tokens == std::vector<TokenInfo>(all.begin() + 100, all.end()));
    CHECK(outcome.choices[i].finish.reason == FinishReason::kLength);
  }
}

TEST_CASE("a cancelled request takes part in no further step, and its slot is free at once") {
  World world(1, 64);
  const auto first = world.submit(simple_request(10, 1'000));
  const auto second = world.submit(simple_request(10, 3));
  for (int i = 0; i < 5; ++i) world.scheduler.step();
  first.stream->cancel();
  std::size_t steps_of_first = 0;
  world.backend.on_step = [&](std::span<const Segment> batch) {
    for (const Segment& segment : batch) steps_of_first += segment.position > 12 ? 1 : 0;
  };
  world.run();
  CHECK(steps_of_first == 0);
  CHECK(first.outcome().choices[0].finish.reason == FinishReason::kCancelled);
  check_same(second.outcome(), alone(*second.request));
}

TEST_CASE("a request ends when its time is over, waiting included") {
  World world(1, 64);
  GenerationRequest slow = simple_request(10, 1'000);
  slow.time_limit = milliseconds(500);  // 20.5 ms a step
  const auto running = world.submit(slow);
  slow.time_limit = milliseconds(100);
  const auto waiting = world.submit(slow);
  world.run();
  const Outcome ran = running.outcome();
  CHECK(ran.choices[0].finish.reason == FinishReason::kTimeLimit);
  CHECK(ran.choices[0].tokens.size() == 25);  // the last came at 517 ms, in the step begun at 496.5 ms
  const Outcome waited = waiting.outcome();
  CHECK(waited.choices[0].finish.reason == FinishReason::kTimeLimit);
  CHECK(waited.choices[0].tokens.empty());
  CHECK(waited.choices[0].finish.times.queued >= 0.1);
}

TEST_CASE("a step that fails ends its own requests and nothing else") {
  World world(2, 64);
  const auto first = world.submit(simple_request(100, 5, 1));
  const auto second = world.submit(simple_request(100, 5, 2));
  const auto third = world.submit(simple_request(100, 5, 3));
  world.backend.on_step = [&](std::span<const Segment>) {
    if (world.backend.num_steps() == 4) throw std::runtime_error("overheated");
  };
  world.run();
  for (const auto* failed : {&first, &second}) {
    const Outcome outcome = failed->outcome();
    CHECK(outcome.choices[0].finish.reason == FinishReason::kFailed);
    CHECK(outcome.choices[0].finish.error == "overheated");
    CHECK_FALSE(outcome.choices[0].finish.device_lost);
    check_prefix(outcome, alone(*failed->request));
  }
  check_same(third.outcome(), alone(*third.request));
}

TEST_CASE("numbers that are not finite end the request that they belong to, with all its choices") {
  World world(4, 64);
  GenerationRequest two_choices = simple_request(20, 9, 1);
  two_choices.num_choices = 2;
  GenerationRequest scored = simple_request(20, 0, 3);
  scored.top_log_probs = 0;
  scored.prompt_log_probs = true;
  const auto broken = world.submit(two_choices);
  const auto sound = world.submit(simple_request(20, 9, 2));
  const auto broken_prompt = world.submit(scored);
  world.backend.is_broken = [](const Segment& segment) {
    const SamplingParams* sample = segment.wanted.sample;
    if (sample == nullptr) return segment.wanted.targets_per_row > 0;
    return sample->seed == 1 && sample->choice == 0 && segment.position >= 23;
  };
  world.run();
  for (const auto* each : {&broken, &broken_prompt}) {
    const Outcome outcome = each->outcome();
    for (const auto& choice : outcome.choices) {
      CHECK(choice.finish.reason == FinishReason::kFailed);
      CHECK(choice.finish.error == kNotFinite);
    }
    check_prefix(outcome, alone(*each->request));
  }
  check_same(sound.outcome(), alone(*sound.request));
}

TEST_CASE("a device that is lost ends all requests, those of other slots and those that wait too") {
  World world(2, 64);
  const auto first = world.submit(simple_request(100, 5, 1));
  const auto second = world.submit(simple_request(3, 50, 2));
  const auto waiting = world.submit(simple_request(100, 5, 3));
  world.backend.on_step = [&](std::span<const Segment>) {
    if (world.backend.num_steps() == 4) throw DeviceLost("it burns");
  };
  CHECK(world.scheduler.device_fault().empty());
  world.run();
  CHECK(world.scheduler.device_fault() == "it burns");
  CHECK(world.backend.num_steps() == 4);
  for (const auto* ended : {&first, &second, &waiting}) {
    const Outcome outcome = ended->outcome();
    CHECK(outcome.choices[0].finish.reason == FinishReason::kFailed);
    CHECK(outcome.choices[0].finish.error == "it burns");
    CHECK(outcome.choices[0].finish.device_lost);
    check_prefix(outcome, alone(*ended->request));
  }
  CHECK(world.scheduler.num_waiting() == 0);
  CHECK(world.scheduler.num_running() == 0);
}

TEST_CASE("the times of a request add up") {
  World world(1, 50);
  world.submit(simple_request(1, 1));
  const auto second = world.submit(simple_request(100, 11));
  world.run();
  const Finish finish = second.outcome().choices[0].finish;
  CHECK(finish.times.queued == Approx(0.0205));
  CHECK(finish.times.prefill == Approx(3 * 0.020 + 100 * 0.0005));  // 48 + 48 + 4 tokens
  CHECK(finish.times.decode == Approx(10 * 0.0205));
  CHECK(finish.times.decode_steps == 10);
}

TEST_CASE("what can never run is refused with the parameter's name") {
  World world(4, 64);
  const auto parameter_refused = [&](auto change) -> std::string {
    GenerationRequest request = simple_request(3, 10);
    change(request);
    try {
      world.scheduler.check(request);
    } catch (const RequestError& error) {
      CHECK(std::string(error.what()).starts_with(error.parameter));
      return error.parameter;
    }
    return "";
  };
  using R = GenerationRequest;
  CHECK(parameter_refused([](R&) {}) == "");
  CHECK(parameter_refused([](R& r) { r.prompt.clear(); }) == "prompt");
  CHECK(parameter_refused([](R& r) { r.prompt.push_back(50); }) == "prompt");
  CHECK(parameter_refused([](R& r) { r.prompt.push_back(-1); }) == "prompt");
  CHECK(parameter_refused([](R& r) { r.max_tokens = -2; }) == "max_tokens");
  CHECK(parameter_refused([](R& r) { r.min_tokens = 11; }) == "min_tokens");
  CHECK(parameter_refused([](R& r) { r.min_tokens = -1; }) == "min_tokens");
  CHECK(parameter_refused([](R& r) { r.stop_ids = {50}; }) == "stop_token_ids");
  CHECK(parameter_refused([](R& r) { r.stop_ids.assign(2'000, 1); }) == "stop_token_ids");
  CHECK(parameter_refused([](R& r) { r.stop_strings = {"a"}; }) == "stop");  // no tokenizer
  CHECK(parameter_refused([](R& r) { r.stop_strings = {""}; }) == "stop");
  CHECK(parameter_refused([](R& r) { r.num_choices = 0; }) == "n");
  CHECK(parameter_refused([](R& r) { r.num_choices = 5; }) == "n");
  CHECK(parameter_refused([](R& r) { r.num_choices = 129; }) == "n");
  CHECK(parameter_refused([](R& r) { r.best_of = 5; }) == "best_of");
  CHECK(parameter_refused([](R& r) { r.num_choices = 3, r.best_of = 2; }) == "best_of");
  CHECK(parameter_refused([](R& r) { r.best_of = -1; }) == "best_of");
  CHECK(parameter_refused([](R& r) { r.top_log_probs = -1; }) == "logprobs");
  CHECK(parameter_refused([](R& r) { r.top_log_probs = 51; }) == "logprobs");  // the vocabulary has 50
  CHECK(parameter_refused([](R& r) { r.top_log_probs = 50; }) == "");
  CHECK(parameter_refused([](R& r) { r.time_limit = milliseconds::max(); }) == "time_limit");
  CHECK(parameter_refused([](R& r) { r.prompt_log_probs = true; }) == "prompt_logprobs");
  CHECK(parameter_refused([](R& r) { r.time_limit = milliseconds(-1); }) == "time_limit");
  const auto scored = [](R& r) { r.continuations = {{1}}, r.max_tokens = 0, r.top_log_probs = 1; };
  CHECK(parameter_refused([&](R& r) { scored(r); }) == "");
  CHECK(parameter_refused([&](R& r) { scored(r), r.continuations = {{}}; }) == "completions");
  CHECK(parameter_refused([&](R& r) { scored(r), r.continuations = {{50}}; }) == "completions");
  CHECK(parameter_refused([&](R& r) { scored(r), r.continuations.push_back({1}); }) == "completions");
  CHECK(parameter_refused([&](R& r) { scored(r), r.max_tokens = 1; }) == "completions");
  CHECK(parameter_refused([&](R& r) { scored(r), r.top_log_probs.reset(); }) == "completions");
}

TEST_CASE("a prompt that no queue could hold is refused, not told to come again") {
  World world(1, 64, {.max_waiting_tokens = 100});
  CHECK_NOTHROW(world.scheduler.check(simple_request(100, 1)));
  CHECK_THROWS_AS(world.scheduler.check(simple_request(101, 1)), RequestError);
}

TEST_CASE("the best of several are not known if one of them failed with the device") {
  World world(3, 64);
  GenerationRequest request = simple_request(5, 8);
  request.num_choices = 1;
  request.best_of = 3;
  request.eos_id = 3;
  for (std::uint64_t seed = 1;; ++seed) {  // one whose candidates end at different steps
    REQUIRE(seed < 1'000);
    request.sampling.seed = seed;
    GenerationRequest all = request;
    all.num_choices = 3;
    std::vector<std::size_t> lengths;
    for (const Outcome::Choice& choice : alone(all).choices) lengths.push_back(choice.tokens.size());
    std::ranges::sort(lengths);
    if (lengths.front() <= 3 && lengths.back() >= 7) break;
  }
  const auto submitted = world.submit(request);
  world.backend.on_step = [&](std::span<const Segment>) {
    if (world.backend.num_steps() == 6) throw std::runtime_error("gone");
  };
  world.run();
  const Finish finish = submitted.outcome().choices[0].finish;
  CHECK(finish.reason == FinishReason::kFailed);
  CHECK(finish.error == "gone");
}
