// SPDX-License-Identifier: Apache-2.0
// A scheduler over a simulated backend in virtual time, and what each request must get from it: what it would
// get alone.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "engine/scheduler.h"
#include "tests/engine/simulated_backend.h"
#include "tests/random.h"

namespace ttt::test {

// What came out of a stream, put together by choice.
struct Outcome {
  std::vector<TokenInfo> prompt_tokens;
  struct Choice {
    std::vector<TokenInfo> tokens;
    Finish finish;
  };
  std::vector<Choice> choices;
};

inline Outcome collect(TokenStream& stream, const GenerationRequest& request) {
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
inline Outcome alone(const GenerationRequest& request) {
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

inline GenerationRequest random_request(test::Random& random, std::size_t num_slots) {
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

inline void check_same(const Outcome& found, const Outcome& wanted) {
  REQUIRE(found.choices.size() == wanted.choices.size());
  CHECK(found.prompt_tokens == wanted.prompt_tokens);
  for (std::size_t i = 0; i < found.choices.size(); ++i) {
    CHECK(found.choices[i].finish.reason == wanted.choices[i].finish.reason);
    CHECK(found.choices[i].tokens == wanted.choices[i].tokens);
  }
}

// `found` ended early: it must be a beginning of `wanted`.
inline void check_prefix(const Outcome& found, const Outcome& wanted) {
  for (std::size_t i = 0; i < found.choices.size(); ++i) {
    const auto& tokens = found.choices[i].tokens;
    REQUIRE(tokens.size() <= wanted.choices[i].tokens.size());
    CHECK(std::equal(tokens.begin(), tokens.end(), wanted.choices[i].tokens.begin()));
  }
}

inline GenerationRequest simple_request(std::size_t prompt_size, std::int64_t max_tokens,
                                        std::uint64_t seed = 1) {
  GenerationRequest request;
  request.prompt.assign(prompt_size, 7);
  request.max_tokens = max_tokens;
  request.sampling.seed = seed;
  return request;
}

}  // namespace ttt::test
