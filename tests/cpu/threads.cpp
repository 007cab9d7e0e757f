// SPDX-License-Identifier: Apache-2.0
// Whoever computes what: with any number of threads a step has the bits of one thread, in prompts that are
// shared by rows as well as in batches that are shared by outputs and heads.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <memory>
#include <vector>

#include "cpu/cpu_backend.h"
#include "engine/state_layout.h"
#include "tests/random.h"
#include "tests/random_model.h"
#include "tests/same_bits.h"

namespace ttt {
namespace {

constexpr std::size_t kSequences = 5;
constexpr std::size_t kPrompt = 300;  // three groups of rows

// Heads and blocks of outputs that no number of threads here divides evenly.
ModelConfig wide_config(LayerType type, bool switches) {
  ModelConfig config;
  config.vocab_size = 50;
  config.hidden_size = 96;
  config.intermediate_size = 608;  // three blocks of 256, the last one short
  config.num_hidden_layers = 2;
  config.num_attention_heads = 6;
  config.mini_batch_size = 16;
  config.ttt_layer_type = type;
  config.ttt_base_lr = type == LayerType::kTttMlp ? 0.1F : 1.0F;
  config.pre_conv = config.share_qk = config.use_gate = switches;
  return config;
}

struct Everything {
  std::vector<float> logits;                   // of every step, in order
  std::vector<std::vector<std::byte>> states;  // of every slot, in the end
};

// Prompts of several lengths, single tokens of all slots at once, then some of each.
Everything run(const Model& model, std::size_t num_threads) {
  const std::unique_ptr<Backend> backend =
      cpu::make_cpu_backend(model, {.num_slots = kSequences,
                                    .max_batch_tokens = kPrompt + kSequences,
                                    .max_logits_rows = kPrompt + kSequences,
                                    .min_parallel_work = 0,  // every thread works
                                    .num_threads = num_threads});
  test::Random random(3);
  std::vector<std::int64_t> positions(kSequences, 0);
  Everything result;
  const auto step = [&](const std::vector<std::size_t>& lengths) {  // of each slot; 0: not in the batch
    std::vector<std::vector<TokenId>> tokens;
    for (const std::size_t length : lengths) tokens.push_back(random.tokens(length, model.config.vocab_size));
    std::vector<Segment> batch;
    for (std::size_t slot = 0; slot < kSequences; ++slot) {
      if (lengths[slot] == 0) continue;
      Segment segment;
      segment.slot = static_cast<SlotId>(slot);
      segment.position = positions[slot];
      segment.tokens = tokens[slot];
      segment.wanted.logits = Rows::kAll;
      batch.push_back(segment);
      positions[slot] += static_cast<std::int64_t>(lengths[slot]);
    }
    backend->submit(batch);
    for (const SegmentResult& one : backend->wait()) {
      result.logits.insert(result.logits.end(), one.logits.begin(), one.logits.end());
    }
  };
  for (std::size_t slot = 0; slot < kSequences; ++slot) backend->reset(static_cast<SlotId>(slot));
  step({kPrompt, 1, 0, 0, 0});
  step({0, 0, 140, 1, 150});
  for (int i = 0; i < 17; ++i) step({1, 1, 1, 1, 1});
  step({1, 19, 1, 130, 1});
  step({0, 0, 1, 0, 0});
  for (std::size_t slot = 0; slot < kSequences; ++slot) {
    result.states.emplace_back(state_bytes(model.config, positions[slot]));
    backend->save(static_cast<SlotId>(slot), positions[slot], result.states.back());
  }
  return result;
}

void check_threads(const Model& model) {
  const Everything wanted = run(model, 1);
  for (const std::size_t threads : {2U, 3U, 4U, 7U, 16U}) {
    INFO(threads << " threads");
    const Everything found = run(model, threads);
    REQUIRE(test::same_bits(found.logits, wanted.logits));
    REQUIRE(found.states == wanted.states);
  }
}

}  // namespace

TEST_CASE("any number of threads gives the same bits in long prompts and in batches") {
  const auto [type, switches] = GENERATE(table<LayerType, bool>(
      {{LayerType::kTttLinear, true}, {LayerType::kTttLinear, false}, {LayerType::kTttMlp, true}}));
  check_threads(test::RandomModel(wide_config(type, switches), 5).model);
}

TEST_CASE("any number of threads gives the same bits in long prompts and in batches with quantised weights") {
  const test::RandomModel original(wide_config(LayerType::kTttLinear, true), 6);
  const test::ConvertedModel quantised(original.model, weights::DType::kQ8_0);
  REQUIRE(quantised.model.layers[0].ffn_down.dtype == weights::DType::kQ8_0);
  check_threads(quantised.model);
}

}  // namespace ttt
