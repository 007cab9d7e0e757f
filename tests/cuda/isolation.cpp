// SPDX-License-Identifier: Apache-2.0
// A sequence on the device gets bitwise what it gets alone: however it is cut, whatever its neighbours are,
// with NaN in every slot that was freed; half of the trials draw tokens one by one, by CUDA graphs. No slot
// serves as padding: a graph is of a number of segments, not of up to so many. What lies behind a step's own
// rows is what longer steps left in the workspace, and that is NaN too.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "cuda/cuda_backend.h"
#include "engine/state_layout.h"
#include "tests/cuda/device_config.h"
#include "tests/cuda/launches.h"
#include "tests/cuda/step_launches.h"
#include "tests/random.h"
#include "tests/random_model.h"
#include "tests/same_bits.h"
#include "tests/sanitized.h"

namespace ttt {
namespace {

constexpr SlotId kDeviceSlots = 5;
constexpr std::size_t kDeviceRows = 40;                     // of a batch
constexpr int kDeviceTrials = test::kSanitized ? 10 : 100;  // of each of two models

struct Sequence {
  std::vector<TokenId> tokens;
  std::size_t num_drawn = 0;             // tokens that are drawn and read after them
  std::vector<float> logits = {};        // [tokens, V], where none is drawn
  std::vector<TokenLogProb> drawn = {};  // [num_drawn + 1], where any is
  std::vector<std::byte> state = {};     // after all of them
};

// The graphs that steps must make and launch: one for each shape, which every later step of the shape
// launches.
class GraphsToCome {
 public:
  void add(std::span<const Segment> batch) {
    std::size_t num_draws = 0;
    for (const Segment& segment : batch) {
      if (segment.num_tokens() > 1 || segment.wanted.logits != Rows::kNone) return;
      num_draws += segment.wanted.sample != nullptr ? 1 : 0;
    }
    ++num_steps_;
    shapes_.emplace(batch.size(), num_draws);
  }
  int made() const { return static_cast<int>(shapes_.size()); }
  int launched() const { return num_steps_ - made(); }

 private:
  int num_steps_ = 0;
  std::set<std::pair<std::size_t, std::size_t>> shapes_;  // segments, draws
};

class Trial {
 public:
  // Every slot is NaN then.
  Trial(const ModelConfig& config, Backend& backend, test::Random& random, GraphsToCome& graphs)
      : config_(config), backend_(backend), random_(random), graphs_(graphs) {
    poison_slots();
    draw_.temperature = 0.9F;
    draw_.top_p = 0.95F;
    draw_.seed = 7;
  }

  // With NaN in all rows of the workspace.
  Sequence alone(const std::vector<TokenId>& tokens, std::size_t num_drawn) {
    poison_rows();
    Sequence sequence{.tokens = tokens, .num_drawn = num_drawn};
    backend_.reset(0);
    step({}, 0, part_of(sequence, 0, 0, tokens.size()), sequence);
    for (std::size_t i = 0; i < num_drawn; ++i) step({}, 0, next_of(sequence, 0, i), sequence);
    save(0, sequence);
    return sequence;
  }

  // The same tokens in random pieces in the last slot, the drawn ones beside one token of each neighbour.
  // Neighbours begin anew, or read what is NaN.
  Sequence among_strangers(const std::vector<TokenId>& tokens, std::size_t num_drawn) {
    const SlotId own = kDeviceSlots - 1;
    Sequence sequence{.tokens = tokens, .num_drawn = num_drawn};
    backend_.reset(own);
    for (std::size_t at = 0; at < tokens.size();) {
      const std::size_t count = random_.between(1, std::min<std::size_t>(9, tokens.size() - at));
      step_among_strangers(7, part_of(sequence, own, at, at + count), sequence);
      at += count;
    }
    for (std::size_t i = 0; i < num_drawn; ++i) {
      step_among_strangers(1, next_of(sequence, own, i), sequence);
    }
    save(own, sequence);
    return sequence;
  }

 private:
  void poison_slots() {
    const std::vector<float> nan(max_state_bytes(config_) / sizeof(float),
                                 std::numeric_limits<float>::quiet_NaN());
    const auto position = static_cast<std::int64_t>(config_.mini_batch_size) - 1;
    for (SlotId slot = 0; slot < kDeviceSlots; ++slot) {
      backend_.load(slot, position, std::as_bytes(std::span(nan)));
    }
  }
  // A step of as many rows as there may be, which reads what is NaN.
  void poison_rows() {
    const std::vector<TokenId> tokens = random_.tokens(kDeviceRows / kDeviceSlots, config_.vocab_size);
    std::vector<Segment> batch(kDeviceSlots);
    for (SlotId slot = 0; slot < kDeviceSlots; ++slot) {
      Segment& segment = batch[static_cast<std::size_t>(slot)];
      segment.slot = slot;
      segment.tokens = tokens;
      segment.wanted.logits = Rows::kAll;
    }
    backend_.submit(batch);
    for (const SegmentResult& result : backend_.wait()) {
      REQUIRE(std::ranges::all_of(result.logits, [](float logit) { return std::isnan(logit); }));
    }
  }

  // All logits where no token is drawn, else the draw behind the last.
  Segment part_of(const Sequence& sequence, SlotId slot, std::size_t begin, std::size_t end) const {
    Segment segment;
    segment.slot = slot;
    segment.position = static_cast<std::int64_t>(begin);
    segment.tokens = std::span(sequence.tokens).subspan(begin, end - begin);
    if (sequence.num_drawn == 0) segment.wanted.logits = Rows::kAll;
    if (sequence.num_drawn > 0 && end == sequence.tokens.size()) segment.wanted.sample = &draw_;
    return segment;
  }
  // Reads the token that was drawn last, number `index`, and draws another.
  Segment next_of(const Sequence& sequence, SlotId slot, std::size_t index) const {
    Segment segment;
    segment.slot = slot;
    segment.position = static_cast<std::int64_t>(sequence.tokens.size() + index);
    segment.token_from_last_sample = true;
    segment.wanted.sample = &draw_;
    return segment;
  }

  // The neighbours of a step read up to so many tokens each.
  void step_among_strangers(std::size_t most_tokens, const Segment& own, Sequence& sequence) {
    std::vector<std::vector<TokenId>> read;
    std::vector<Segment> batch;
    for (SlotId slot = 0; slot < own.slot; ++slot) {
      if (random_.below(2) == 0) continue;
      const bool is_fresh = random_.below(2) == 0;
      if (is_fresh) backend_.reset(slot);
      read.push_back(random_.tokens(random_.between(1, most_tokens), config_.vocab_size));
      Segment stranger;
      stranger.slot = slot;
      stranger.position = is_fresh ? 0 : static_cast<std::int64_t>(random_.below(12));
      stranger.tokens = read.back();
      if (random_.below(2) == 0) stranger.wanted.sample = &draw_;
      batch.push_back(stranger);
    }
    const std::size_t place = random_.below(batch.size() + 1);
    step(std::move(batch), place, own, sequence);
  }
  void step(std::vector<Segment> strangers, std::size_t place, const Segment& own, Sequence& sequence) {
    strangers.insert(strangers.begin() + static_cast<std::ptrdiff_t>(place), own);
    graphs_.add(strangers);
    backend_.submit(strangers);
    const SegmentResult& result = backend_.wait()[place];
    sequence.logits.insert(sequence.logits.end(), result.logits.begin(), result.logits.end());
    if (own.wanted.sample != nullptr) sequence.drawn.push_back(result.sampled);
  }
  void save(SlotId slot, Sequence& sequence) const {
    const auto position = static_cast<std::int64_t>(sequence.tokens.size() + sequence.num_drawn);
    sequence.state.resize(state_bytes(config_, position));
    backend_.save(slot, position, sequence.state);
  }

  const ModelConfig& config_;
  Backend& backend_;
  test::Random& random_;
  GraphsToCome& graphs_;
  SamplingParams draw_;
};

ModelConfig isolation_config(LayerType type, std::size_t head_size, std::size_t mini_batch_size) {
  ModelConfig config = test::device_config(type, 2, head_size);
  config.vocab_size = 30;
  config.mini_batch_size = mini_batch_size;
  return config;
}

// Every other trial draws tokens.
void check_isolation(const ModelConfig& config, cuda::Precision precision, int trials) {
  const test::RandomModel model(config, 21);
  const auto backend = cuda::make_cuda_backend(model.model, {.num_slots = kDeviceSlots,
                                                             .max_batch_tokens = kDeviceRows,
                                                             .max_logits_rows = kDeviceRows,
                                                             .precision = precision,
                                                             .deterministic = true});
  test::Random random(22);
  GraphsToCome graphs;
  const test::Launches launches;
  for (int trial = 0; trial < trials; ++trial) {
    INFO("trial " << trial);
    const bool draws = trial % 2 == 1;
    const std::vector<TokenId> tokens = random.tokens(random.between(1, draws ? 17 : 25), config.vocab_size);
    const std::size_t num_drawn = draws ? random.between(2, 8) : 0;
    const Sequence wanted = Trial(config, *backend, random, graphs).alone(tokens, num_drawn);
    const Sequence found = Trial(config, *backend, random, graphs).among_strangers(tokens, num_drawn);
    REQUIRE(test::same_bits(found.logits, wanted.logits));
    REQUIRE(test::same_bits(found.drawn, wanted.drawn));
    REQUIRE(test::same_bits(found.state, wanted.state));
  }
  launches.check_graphs(graphs.made(), graphs.launched());
  test::check_inner_kernel(launches, config, precision);
}

}  // namespace

TEST_CASE("on a device a TTT-Linear sequence among strangers gets bitwise what it gets alone") {
  check_isolation(isolation_config(LayerType::kTttLinear, 6, 6), cuda::Precision::kExact, kDeviceTrials);
}

TEST_CASE("on a device a TTT-MLP sequence among strangers gets bitwise what it gets alone") {
  check_isolation(isolation_config(LayerType::kTttMlp, 6, 6), cuda::Precision::kExact, kDeviceTrials);
}

TEST_CASE("in fast mode a sequence among strangers gets bitwise what it gets alone") {
  struct Case {
    LayerType type;
    std::size_t head_size;
    int on_device, emulated, sanitized;  // trials
  };
  constexpr Case kCases[] = {
      {LayerType::kTttLinear, 64, 40, 24, 2}, {LayerType::kTttLinear, 96, 30, 2, 0},
      {LayerType::kTttLinear, 128, 30, 2, 0}, {LayerType::kTttMlp, 64, 40, 8, 2},
      {LayerType::kTttMlp, 96, 30, 2, 1},     {LayerType::kTttMlp, 128, 30, 2, 0},
  };
  for (const Case& one : kCases) {
    INFO(to_string(one.type) << " f " << one.head_size);
#ifdef TTT_ON_DEVICE
    const int trials = one.on_device;
#else
    const int trials = test::kSanitized ? one.sanitized : one.emulated;
#endif
    if (trials == 0) continue;
    check_isolation(isolation_config(one.type, one.head_size, 16), cuda::Precision::kFast, trials);
  }
}

}  // namespace ttt
