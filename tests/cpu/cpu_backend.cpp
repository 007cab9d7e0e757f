// SPDX-License-Identifier: Apache-2.0
// What the contract suite, which knows no particular backend, leaves open.
#include "cpu/cpu_backend.h"

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "engine/state_layout.h"
#include "tests/random_model.h"

using namespace ttt;

namespace {

ModelConfig tiny_config() {
  ModelConfig config;
  config.vocab_size = 11;
  config.hidden_size = 8;
  config.intermediate_size = 12;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 2;
  config.mini_batch_size = 4;
  config.pre_conv = config.share_qk = true;
  return config;
}

}  // namespace

TEST_CASE("a position that its tokens would carry beyond 63 bits is refused") {
  const test::RandomModel model(tiny_config());
  const auto backend = cpu::make_cpu_backend(model.model, {.num_threads = 1});
  backend->reset(0);
  const std::array<TokenId, 2> tokens = {1, 2};
  Segment segment;
  segment.tokens = tokens;
  segment.position = std::numeric_limits<std::int64_t>::max() - 1;
  CHECK_THROWS_AS(backend->submit(std::span(&segment, 1)), std::logic_error);
  segment.position -= 1;
  CHECK_NOTHROW(backend->submit(std::span(&segment, 1)));
}

TEST_CASE("a number of targets that overflows is refused") {
  const test::RandomModel model(tiny_config());
  const auto backend = cpu::make_cpu_backend(model.model, {.num_threads = 1});
  backend->reset(0);
  const std::array<TokenId, 2> tokens = {1, 2};
  Segment segment;
  segment.tokens = tokens;
  segment.wanted.log_probs = Rows::kAll;
  segment.wanted.targets_per_row = std::size_t{1} << 63;
  CHECK_THROWS_AS(backend->submit(std::span(&segment, 1)), std::logic_error);
}

TEST_CASE("a rewind by nothing keeps the sampled token, any other forgets it") {
  const test::RandomModel model(tiny_config());
  const auto backend = cpu::make_cpu_backend(model.model, {.num_threads = 1});
  backend->reset(0);
  const std::array<TokenId, 2> tokens = {1, 2};
  const SamplingParams greedy;
  Segment segment;
  segment.tokens = tokens;
  segment.wanted.sample = &greedy;
  backend->submit(std::span(&segment, 1));
  backend->wait();
  backend->rewind(0, 2, 2);
  Segment next;
  next.position = 2;
  next.token_from_last_sample = true;
  next.wanted.sample = &greedy;
  backend->submit(std::span(&next, 1));
  backend->wait();
  backend->rewind(0, 3, 2);
  CHECK_THROWS_AS(backend->submit(std::span(&next, 1)), std::logic_error);
}

TEST_CASE("the plan of memory covers the largest state of every slot") {
  const test::RandomModel model(tiny_config());
  const auto backend = cpu::make_cpu_backend(model.model, {.num_slots = 3, .num_threads = 1});
  CHECK(backend->info().num_slots == 3);
  CHECK(backend->info().slot_bytes >= max_state_bytes(model.model.config));
  CHECK(backend->info().dispatch_target == cpu::dispatch_target());
  CHECK_FALSE(backend->info().device_name.empty());
}
