// SPDX-License-Identifier: Apache-2.0
// The scheduler over a real backend: what a request gets among random strangers, who come, go and are
// cancelled, is bitwise what it gets alone, log-probabilities included.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "cpu/cpu_backend.h"
#include "engine/scheduler.h"
#include "tests/golden.h"
#include "tests/random.h"
#include "tests/sanitized.h"

namespace ttt {
namespace {

constexpr std::size_t kSlots = 6;
constexpr int kTrials = test::kSanitized ? 10 : 100;  // of each of two models

GenerationRequest random_request(test::Random& random, std::size_t vocab_size) {
  GenerationRequest request;
  request.prompt = random.tokens(random.between(1, 50), vocab_size);
  request.max_tokens = static_cast<std::int64_t>(random.between(1, 20));
  request.sampling.temperature = random.below(4) == 0 ? 0.0F : 1.0F;
  request.sampling.top_k = static_cast<std::int32_t>(random.below(20));
  request.sampling.repetition_penalty = random.below(2) == 0 ? 1.0F : 1.3F;
  request.sampling.seed = random.bits();
  request.num_choices = random.below(3) == 0 ? 2 : 1;
  request.top_log_probs = 3;
  request.prompt_log_probs = true;
  return request;
}

struct Answer {
  std::vector<TokenInfo> prompt_tokens;
  std::vector<std::vector<TokenInfo>> choices;

  friend bool operator==(const Answer&, const Answer&) = default;
};

void take_events(TokenStream& stream, Answer& answer) {
  while (auto event = stream.try_pop()) {
    answer.choices.resize(std::max(answer.choices.size(), event->choice + 1));
    for (TokenInfo& token : event->prompt_tokens) answer.prompt_tokens.push_back(std::move(token));
    for (TokenInfo& token : event->tokens) answer.choices[event->choice].push_back(std::move(token));
  }
}

std::shared_ptr<TokenStream> submit(Scheduler& scheduler, const GenerationRequest& request) {
  scheduler.check(request);
  auto stream = std::make_shared<TokenStream>(request);
  scheduler.add(std::make_shared<const GenerationRequest>(request), stream, Scheduler::Clock::now());
  return stream;
}

Answer alone(const Model& model, const GenerationRequest& request) {
  const auto backend =
      cpu::make_cpu_backend(model, {.num_slots = 2, .max_batch_tokens = 64, .num_threads = 1});
  Scheduler scheduler(*backend, model.config, nullptr, {});
  const auto stream = submit(scheduler, request);
  while (!scheduler.idle()) scheduler.step();
  Answer answer;
  take_events(*stream, answer);
  return answer;
}

void check_trials(const char* name) {
  const test::GoldenCase golden(name);
  const Model model = load_model(golden.checkpoint);
  test::Random random(99);
  const auto backend =
      cpu::make_cpu_backend(model, {.num_slots = kSlots, .max_batch_tokens = 40, .num_threads = 1});
  Scheduler scheduler(*backend, model.config, nullptr, {.prefill_beside_decode = 24});
  std::vector<std::shared_ptr<TokenStream>> strangers;
  std::size_t most_running = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    INFO("trial " << trial);
    const GenerationRequest request = random_request(random, model.config.vocab_size);
    const auto stream = submit(scheduler, request);
    Answer answer;
    while (!stream->exhausted()) {
      if (random.below(3) == 0 && scheduler.num_waiting() < 4) {
        strangers.push_back(submit(scheduler, random_request(random, model.config.vocab_size)));
      }
      if (random.below(8) == 0 && !strangers.empty()) strangers[random.below(strangers.size())]->cancel();
      scheduler.step();
      most_running = std::max(most_running, scheduler.num_running());
      take_events(*stream, answer);
    }
    REQUIRE(answer == alone(model, request));
  }
  CHECK(most_running >= 4);
}

}  // namespace

TEST_CASE("a request among strangers gets bitwise what it gets alone with TTT-Linear") {
  check_trials("linear-mamba");
}

TEST_CASE("a request among strangers gets bitwise what it gets alone with TTT-MLP") {
  check_trials("mlp-mamba");
}

}  // namespace ttt
