// SPDX-License-Identifier: Apache-2.0
// Random chunkings, strangers in the batch, slots and thread counts on golden models: the bits of the
// logits and of the state are those of an undivided run alone.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/dispatch.h"
#include "engine/model.h"
#include "engine/state_layout.h"
#include "tests/golden.h"
#include "tests/random.h"
#include "tests/random_model.h"
#include "tests/sanitized.h"

namespace ttt {
namespace {

constexpr std::size_t kSlots = 5;
constexpr std::size_t kMaxTokens = 128;
constexpr int kSeeds = test::kSanitized ? 30 : 210;  // with the best target; a third with the others

std::unique_ptr<Backend> make_backend(const Model& model, std::size_t num_threads,
                                      const std::string& target) {
  return cpu::make_cpu_backend(model, {.num_slots = kSlots,
                                       .max_batch_tokens = kMaxTokens,
                                       .max_logits_rows = kMaxTokens,
                                       .min_parallel_work = 0,  // tiny models, yet every thread works
                                       .num_threads = num_threads,
                                       .cpu_target = target});
}

// A sequence that is being read, and what its logits must be.
struct Sequence {
  std::span<const TokenId> tokens;
  std::vector<float> logits;     // [tokens, V], of an undivided run
  std::vector<std::byte> state;  // after the last token
};

std::vector<std::byte> save(const Backend& backend, const ModelConfig& config, SlotId slot,
                            std::size_t position) {
  std::vector<std::byte> bytes(state_bytes(config, static_cast<std::int64_t>(position)));
  backend.save(slot, static_cast<std::int64_t>(position), bytes);
  return bytes;
}

Sequence read_undivided(Backend& backend, const ModelConfig& config, std::span<const TokenId> tokens) {
  backend.reset(0);
  Segment segment;
  segment.tokens = tokens;
  segment.wanted.logits = Rows::kAll;
  backend.submit({&segment, 1});
  const std::span<const float> logits = backend.wait()[0].logits;
  return {tokens, {logits.begin(), logits.end()}, save(backend, config, 0, tokens.size())};
}

// Reads all sequences together; each round takes a random piece of some of them, in random order. Empty if
// every bit is right, else what differs.
std::string read_together(Backend& backend, const ModelConfig& config,
                          std::span<const Sequence* const> sequences, test::Random& random) {
  std::array<SlotId, kSlots> slots = {0, 1, 2, 3, 4};
  for (std::size_t i = 0; i < kSlots; ++i) std::swap(slots[i], slots[random.between(i, kSlots - 1)]);
  std::vector<std::size_t> positions(sequences.size(), 0);
  for (std::size_t s = 0; s < sequences.size(); ++s) backend.reset(slots[s]);
  const std::size_t longest = random.below(2) == 0 ? 5 : 40;
  while (positions[0] < sequences[0]->tokens.size()) {
    std::vector<std::size_t> members;
    std::vector<Segment> batch;
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      const std::size_t left = sequences[s]->tokens.size() - positions[s];
      if (left == 0 || random.below(3) == 0) continue;
      Segment segment;
      segment.slot = slots[s];
      segment.position = static_cast<std::int64_t>(positions[s]);
      segment.tokens = sequences[s]->tokens.subspan(positions[s], random.between(1, std::min(left, longest)));
      segment.wanted.logits = Rows::kAll;
      const auto place = static_cast<std::ptrdiff_t>(random.below(batch.size() + 1));
      members.insert(members.begin() + place, s);
      batch.insert(batch.begin() + place, segment);
    }
    if (batch.empty()) continue;
    backend.submit(batch);
    const std::span<const SegmentResult> results = backend.wait();
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const Sequence& sequence = *sequences[members[i]];
      const float* wanted = sequence.logits.data() + positions[members[i]] * config.vocab_size;
      if (std::memcmp(results[i].logits.data(), wanted, results[i].logits.size_bytes()) != 0) {
        return fmt::format("logits of sequence {} from position {}", members[i], positions[members[i]]);
      }
      positions[members[i]] += batch[i].tokens.size();
    }
  }
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    const std::size_t end = sequences[s]->tokens.size();
    if (positions[s] == end && save(backend, config, slots[s], end) != sequences[s]->state) {
      return fmt::format("state of sequence {}", s);
    }
  }
  return "";
}

void check_case(const std::string& name, weights::DType dtype, const std::string& target, int num_seeds) {
  INFO(target);
  const test::GoldenCase golden(name);
  const Model original = load_model(golden.checkpoint);
  const test::ConvertedModel converted(original, dtype);
  const Model& model = converted.model;
  const std::unique_ptr<Backend> backends[] = {make_backend(model, 1, target),
                                               make_backend(model, 2, target)};
  // Prefixes of the prompt around the ends of mini-batches of 8 and 16, and strangers.
  test::Random random(1);
  const std::vector<TokenId> other = random.tokens(24, model.config.vocab_size);
  std::vector<Sequence> prompts, strangers;
  for (const std::size_t size : {1U, 7U, 8U, 9U, 15U, 16U, 17U, 19U, 24U, 33U}) {
    prompts.push_back(read_undivided(*backends[0], model.config, std::span(golden.input_ids).first(size)));
  }
  for (const std::size_t size : {2U, 9U, 18U}) {
    strangers.push_back(read_undivided(*backends[0], model.config, std::span(other).subspan(size % 7, size)));
  }
  for (int seed = 0; seed < num_seeds; ++seed) {
    test::Random choice(100 + static_cast<std::uint64_t>(seed));
    std::vector<const Sequence*> sequences = {&prompts[choice.below(prompts.size())]};
    for (std::size_t i = choice.below(3); i > 0; --i)
      sequences.push_back(&strangers[choice.below(strangers.size())]);
    // One seed in four with two threads: they wait for each other, long on a busy machine.
    const std::size_t num_threads = choice.below(4) == 0 ? 2 : 1;
    INFO("seed " << seed << ", threads " << num_threads);
    REQUIRE(read_together(*backends[num_threads - 1], model.config, sequences, choice) == "");
  }
}

void check_case(const std::string& name, weights::DType dtype = weights::DType::kF32) {
  const std::vector<std::string> targets = cpu::cpu_targets();
  for (const std::string& target : targets) {
    check_case(name, dtype, target, target == targets.front() ? kSeeds : kSeeds / 3);
  }
}

}  // namespace

TEST_CASE("chunks, batch, slot and threads do not change a bit with TTT-Linear") {
  check_case("linear-mamba");
}

TEST_CASE("chunks, batch, slot and threads do not change a bit with TTT-MLP") { check_case("mlp-mamba"); }

TEST_CASE("chunks, batch, slot and threads do not change a bit with quantised weights") {
  check_case("linear-mamba", weights::DType::kQ8_0);
}

TEST_CASE("chunks, batch, slot and threads do not change a bit with mini-batches of 8") {
  check_case("linear-untied-minibatch8");
}

}  // namespace ttt
