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
#include "tests/engine/simulated_backend.h"
#include "tests/random.h"

using namespace ttt;
using std::chrono::milliseconds;
using test::SimulatedBackend;

namespace {

// What came out of a stream, put together by choice.
struct Outcome {
  std::vector<TokenInfo> prompt_tokens;
  struct Choice {
    std::vector<TokenInfo> tokens;
    Finish finish;
  };
  std::vector<Choice> choices;
};

Outcome collect(TokenStream& stream, const GenerationRequest& request) {
  Outcome outcome;
  outcome.choices.resize(static_cast<std::size_t>(request.num_choices));
  while (auto event = stream.try_pop()) {
    Outcome::Choice& choice = outcome.choices.at(event->choice);
    auto& given = request.continuations.empty() ? outcome.prompt_tokens : choice.tokens;
    given.insert(given.end(), event->prompt_tokens.begin(), event->prompt_tokens.end());
    REQUIRE(choice.finish.reason == FinishReason::kRunning);  // nothing comes after the end
    choice.tokens.insert(choice.tokens.end(), event->tokens.begin(), event->tokens.end());
    if (event->finish) choice.finish = *event->finish;
  }
  return outcome;
}

// A scheduler over a simulated backend, and what was submitted to it.
struct World {
  explicit World(std::size_t num_slots, std::size_t max_batch_tokens, const SchedulerOptions& options = {})
      : backend(num_slots, max_batch_tokens),
        scheduler(backend, SimulatedBackend::config(), nullptr, options, [this] { return backend.now(); }) {}

  struct Submitted {
    std::shared_ptr<const GenerationRequest> request;
    std::shared_ptr<TokenStream> stream;

    Outcome outcome() const { return collect(*stream, *request); }
  };
  Submitted submit(GenerationRequest request) {
    scheduler.check(request);
    auto stream = std::make_shared<TokenStream>(request);
    auto shared = std::make_shared<const GenerationRequest>(std::move(request));
    scheduler.add(shared, stream, backend.now());
    return {shared, stream};
  }
  void run() {
    while (!scheduler.idle()) scheduler.step();
  }

  SimulatedBackend backend;
  Scheduler scheduler;
};

// The truth: every choice driven by itself, token by token, on a backend of its own.
Outcome alone(const GenerationRequest& request) {
  const auto shared = std::make_shared<const GenerationRequest>(request);
  Outcome outcome;
  std::vector<std::pair<double, Outcome::Choice>> all;
  for (std::size_t choice = 0; choice < num_sequences(request); ++choice) {
    SimulatedBackend backend(1, 1);
    backend.reset(0);
    Session session = Session(shared, 0, nullptr).fork(0, static_cast<std::uint32_t>(choice));
    Outcome::Choice& out = all.emplace_back().second;
    while (session.reason() == FinishReason::kRunning) {
      const Segment segment = session.next_segment(1);
      backend.submit({&segment, 1});
      SessionStep step = session.accept(backend.wait()[0]);
      const bool has_own = !request.continuations.empty();
      if (choice == 0 || has_own) {
        auto& given = has_own ? out.tokens : outcome.prompt_tokens;
        given.insert(given.end(), step.prompt_tokens.begin(), step.prompt_tokens.end());
      }
      if (step.token) out.tokens.push_back(*step.token);
    }
    out.finish.reason = session.reason();
    all.back().first = session.mean_log_prob();
  }
  if (request.best_of > request.num_choices) {
    std::ranges::stable_sort(all, [](const auto& a, const auto& b) { return a.first > b.first; });
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(request.num_choices); ++i) {
    outcome.choices.push_back(all[i].second);
  }
  return outcome;
}

GenerationRequest random_request(test::Random& random, std::size_t num_slots) {
  GenerationRequest request;
  request.prompt = random.tokens(random.between(1, 1 + random.below(random.below(4) == 0 ? 400 : 60)), 50);
  request.max_tokens = random.below(12) == 0 ? 0 : static_cast<std::int64_t>(random.between(1, 60));
  if (random.below(3) == 0) request.eos_id = static_cast<TokenId>(random.below(50));
  if (random.below(4) == 0) request.stop_ids = random.tokens(2, 50);
  if (request.max_tokens > 0 && random.below(4) == 0) {
    request.min_tokens =
        static_cast<std::int64_t>(random.between(0, static_cast<std::size_t>(request.max_tokens)));
  }
  request.sampling.seed = random.bits();
  request.sampling.repeat_last_n = static_cast<std::int32_t>(random.below(30)) - 1;
  request.num_choices = static_cast<std::int64_t>(random.below(3) == 0 ? random.between(1, num_slots) : 1);
  if (random.below(3) == 0) {
    request.best_of =
        static_cast<std::int64_t>(random.between(static_cast<std::size_t>(request.num_choices), num_slots));
  }
  if (random.below(3) == 0) {
    request.top_log_probs = static_cast<std::int64_t>(random.below(4));
    request.prompt_log_probs = random.below(2) == 0;
  }
  if (random.below(6) == 0) {
    request.max_tokens = request.min_tokens = request.best_of = 0;
    request.top_log_probs = 1;
    request.prompt_log_probs = false;
    for (std::int64_t i = 0; i < request.num_choices; ++i) {
      request.continuations.push_back(random.tokens(random.between(1, 50), 50));
    }
  }
  return request;
}

void check_same(const Outcome& found, const Outcome& wanted) {
  REQUIRE(found.choices.size() == wanted.choices.size());
  CHECK(found.prompt_tokens == wanted.prompt_tokens);
  for (std::size_t i = 0; i < found.choices.size(); ++i) {
    CHECK(found.choices[i].finish.reason == wanted.choices[i].finish.reason);
    CHECK(found.choices[i].tokens == wanted.choices[i].tokens);
  }
}

// `found` ended early: it must be a beginning of `wanted`.
void check_prefix(const Outcome& found, const Outcome& wanted) {
  for (std::size_t i = 0; i < found.choices.size(); ++i) {
    const auto& tokens = found.choices[i].tokens;
    REQUIRE(tokens.size() <= wanted.choices[i].tokens.size());
    CHECK(std::equal(tokens.begin(), tokens.end(), wanted.choices[i].tokens.begin()));
  }
}

GenerationRequest simple_request(std::size_t prompt_size, std::int64_t max_tokens, std::uint64_t seed = 1) {
  GenerationRequest request;
  request.prompt.assign(prompt_size, 7);
  request.max_tokens = max_tokens;
  request.sampling.seed = seed;
  return request;
}

}  // namespace

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
