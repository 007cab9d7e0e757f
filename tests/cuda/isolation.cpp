// SPDX-License-Identifier: Apache-2.0
// A sequence on the device gets bitwise what it gets alone: however it is cut, whatever its neighbours are,
// with NaN in every slot that was freed.
#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <vector>

#include "cuda/cuda_backend.h"
#include "engine/state_layout.h"
#include "tests/cuda/device_config.h"
#include "tests/random.h"
#include "tests/random_model.h"
#include "tests/same_bits.h"
#include "tests/sanitized.h"

namespace ttt {
namespace {

constexpr SlotId kDeviceSlots = 5;
constexpr int kDeviceTrials = test::kSanitized ? 10 : 100;  // of each of two models
constexpr int kFastTrials = test::kSanitized ? 1 : 4;
constexpr int kWideTrials = 1;  // of heads whose fast weights are streamed

struct Sequence {
  std::vector<TokenId> tokens;
  std::vector<float> logits;     // [tokens, V]
  std::vector<std::byte> state;  // after all of them
};

class Trial {
 public:
  Trial(const ModelConfig& config, Backend& backend, test::Random& random)
      : config_(config), backend_(backend), random_(random) {
    const std::vector<float> nan(max_state_bytes(config) / sizeof(float),
                                 std::numeric_limits<float>::quiet_NaN());
    const auto position = static_cast<std::int64_t>(config.mini_batch_size) - 1;
    for (SlotId slot = 0; slot < kDeviceSlots; ++slot) {
      backend.load(slot, position, std::as_bytes(std::span(nan)));
    }
  }

  Sequence alone(std::vector<TokenId> tokens) {
    backend_.reset(0);
    Sequence sequence{.tokens = std::move(tokens), .logits = {}, .state = {}};
    const Segment segment = part_of(sequence, 0, 0, sequence.tokens.size());
    backend_.submit({&segment, 1});
    append(backend_.wait()[0].logits, sequence.logits);
    save(0, sequence);
    return sequence;
  }

  // The same tokens in random pieces in the last slot. Neighbours begin anew, or read what is NaN.
  Sequence among_strangers(const std::vector<TokenId>& tokens) {
    const SlotId own = kDeviceSlots - 1;
    Sequence sequence{.tokens = tokens, .logits = {}, .state = {}};
    backend_.reset(own);
    for (std::size_t at = 0; at < tokens.size();) {
      const std::size_t count = random_.between(1, std::min<std::size_t>(9, tokens.size() - at));
      std::vector<std::vector<TokenId>> read;  // by strangers
      std::vector<Segment> batch;
      for (SlotId slot = 0; slot < own; ++slot) {
        if (random_.below(2) == 0) continue;
        const bool is_fresh = random_.below(2) == 0;
        if (is_fresh) backend_.reset(slot);
        read.push_back(random_.tokens(random_.between(1, 7), config_.vocab_size));
        Segment stranger;
        stranger.slot = slot;
        stranger.position = is_fresh ? 0 : static_cast<std::int64_t>(random_.below(12));
        stranger.tokens = read.back();
        batch.push_back(stranger);
      }
      const std::size_t place = random_.below(batch.size() + 1);
      batch.insert(batch.begin() + static_cast<std::ptrdiff_t>(place),
                   part_of(sequence, own, at, at + count));
      backend_.submit(batch);
      append(backend_.wait()[place].logits, sequence.logits);
      at += count;
    }
    save(own, sequence);
    return sequence;
  }

 private:
  static Segment part_of(const Sequence& sequence, SlotId slot, std::size_t begin, std::size_t end) {
    Segment segment;
    segment.slot = slot;
    segment.position = static_cast<std::int64_t>(begin);
    segment.tokens = std::span(sequence.tokens).subspan(begin, end - begin);
    segment.wanted.logits = Rows::kAll;
    return segment;
  }
  static void append(std::span<const float> logits, std::vector<float>& to) {
    to.insert(to.end(), logits.begin(), logits.end());
  }
  void save(SlotId slot, Sequence& sequence) const {
    const auto position = static_cast<std::int64_t>(sequence.tokens.size());
    sequence.state.resize(state_bytes(config_, position));
    backend_.save(slot, position, sequence.state);
  }

  const ModelConfig& config_;
  Backend& backend_;
  test::Random& random_;
};

ModelConfig isolation_config(LayerType type, std::size_t head_size, std::size_t mini_batch_size) {
  ModelConfig config = test::device_config(type, 2, head_size);
  config.vocab_size = 30;
  config.mini_batch_size = mini_batch_size;
  return config;
}

void check_isolation(const ModelConfig& config, cuda::Precision precision, int trials) {
  const test::RandomModel model(config, 21);
  const auto backend = cuda::make_cuda_backend(model.model, {.num_slots = kDeviceSlots,
                                                             .max_batch_tokens = 40,
                                                             .max_logits_rows = 40,
                                                             .precision = precision,
                                                             .deterministic = true});
  test::Random random(22);
  for (int trial = 0; trial < trials; ++trial) {
    INFO("trial " << trial);
    const std::vector<TokenId> tokens = random.tokens(random.between(1, 25), config.vocab_size);
    const Sequence wanted = Trial(config, *backend, random).alone(tokens);
    const Sequence found = Trial(config, *backend, random).among_strangers(tokens);
    REQUIRE(test::same_bits(found.logits, wanted.logits));
    REQUIRE(test::same_bits(found.state, wanted.state));
  }
}

}  // namespace

TEST_CASE("on a device a TTT-Linear sequence among strangers gets bitwise what it gets alone") {
  check_isolation(isolation_config(LayerType::kTttLinear, 6, 6), cuda::Precision::kExact, kDeviceTrials);
}

TEST_CASE("on a device a TTT-MLP sequence among strangers gets bitwise what it gets alone") {
  check_isolation(isolation_config(LayerType::kTttMlp, 6, 6), cuda::Precision::kExact, kDeviceTrials);
}

TEST_CASE("in fast mode a sequence among strangers gets bitwise what it gets alone") {
  for (const LayerType type : {LayerType::kTttLinear, LayerType::kTttMlp}) {
    check_isolation(isolation_config(type, 64, 16), cuda::Precision::kFast, kFastTrials);
  }
  check_isolation(isolation_config(LayerType::kTttMlp, 96, 16), cuda::Precision::kFast, kWideTrials);
}

}  // namespace ttt
