// SPDX-License-Identifier: Apache-2.0
// What the contract suite, which knows no particular backend, leaves open.
#include "cpu/cpu_backend.h"

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "cpu/dispatch.h"
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
  CHECK(backend->info().dispatch_target == cpu::cpu_targets().front());
  CHECK_FALSE(backend->info().device_name.empty());
}

TEST_CASE("a backend runs the kernels that it was asked for, and says so") {
  const test::RandomModel model(tiny_config());
  for (const std::string& target : cpu::cpu_targets()) {
    const auto backend = cpu::make_cpu_backend(model.model, {.num_threads = 1, .cpu_target = target});
    CHECK(backend->info().dispatch_target == target);
    CHECK(cpu::dispatch_target() == target);
  }
  cpu::choose_target("");
  CHECK_THROWS_AS(cpu::make_cpu_backend(model.model, {.num_threads = 1, .cpu_target = "x86-64-mmx"}),
                  std::invalid_argument);
}

TEST_CASE("packed weights are counted: each matrix once, the tied head with the embedding") {
  ModelConfig config = tiny_config();
  const test::RandomModel tied(config);
  config.tie_word_embeddings = false;
  const test::RandomModel untied(config);
  const auto bytes = [](const test::RandomModel& model) {
    return cpu::make_cpu_backend(model.model, {.num_threads = 1})->info().weights_bytes;
  };
  CHECK(bytes(tied) == bytes(untied));
  // Per layer q, v, gate or not, o [8, 8], gate, up [12, 8], down [8, 12], rates [2, 8]; the head [11, 8]:
  // outputs padded to 16.
  CHECK(bytes(tied) >= 4 * 16 * (3 * 8 + 2 * 8 + 12 + 8 + 8));
}

TEST_CASE("the memory of a backend is known before it is made") {
  for (const weights::DType dtype : {weights::DType::kF32, weights::DType::kBF16}) {
    for (unsigned switches = 0; switches < 16; ++switches) {
      ModelConfig config = tiny_config();
      config.pre_conv = (switches & 1U) != 0;
      config.share_qk = (switches & 2U) != 0;
      config.use_gate = config.tie_word_embeddings = (switches & 4U) != 0;
      if ((switches & 8U) != 0) config.ttt_layer_type = LayerType::kTttMlp;
      const test::RandomModel model(config, 1, dtype);
      const cpu::CpuOptions options{.num_slots = 3, .max_batch_tokens = 20, .num_threads = 2};
      const cpu::MemoryPlan plan = cpu::plan_memory(model.model, options);
      const BackendInfo info = cpu::make_cpu_backend(model.model, options)->info();
      INFO("switches " << switches);
      CHECK(plan.weights == info.weights_bytes);
      CHECK(plan.states == 3 * info.slot_bytes);
      CHECK(plan.workspace == info.workspace_bytes);
    }
  }
}
