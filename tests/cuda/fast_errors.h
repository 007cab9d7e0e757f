// SPDX-License-Identifier: Apache-2.0
// How far fast mode is from the float64 oracle on a random model, and what is allowed.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/state_layout.h"
#include "tests/cuda/launches.h"
#include "tests/cuda/step_launches.h"
#include "tests/error_metric.h"
#include "tests/naive.h"
#include "tests/random_model.h"
#include "tests/saved_state.h"

namespace ttt::test {

// Nats, the mean over tokens. What 16-bit operands may cost: gpu-kernels 4.3 on trained weights, ten times as
// much on random ones, whose layers amplify.
inline constexpr double kDemoDivergence = 1e-4, kRandomDivergence = 1e-3;

struct FastErrors {
  double divergence = 0.0;   // of the logits, nats a token
  double losses = 0.0;       // relative L2
  double learned = 0.0;      // of W1, b1, W2, b2, relative to what was learned; the worst
  double conv_inputs = 0.0;  // relative L2
  double open_rows = 0.0;    // relative L2

  void keep_worst(const FastErrors& other) {
    for (double FastErrors::*part : {&FastErrors::divergence, &FastErrors::losses, &FastErrors::learned,
                                     &FastErrors::conv_inputs, &FastErrors::open_rows}) {
      this->*part = std::max(this->*part, other.*part);
    }
  }
  void check() const {
    CHECK(divergence <= kRandomDivergence);
    CHECK(losses <= 1e-2);
    CHECK(learned <= 1e-2);        // the bar of the prefill kernels
    CHECK(conv_inputs <= 0x1p-8);  // of operands, each rounded by at most 2^-9
    CHECK(open_rows <= 1e-2);
  }
};

// The parts of a canonical state whose names end so.
inline std::vector<double> parts_of(const ModelConfig& config, std::int64_t position,
                                    const std::vector<double>& state,
                                    std::initializer_list<const char*> names) {
  std::vector<double> values;
  for (const StateTensor& tensor : list_state(config, position)) {
    std::size_t row = 1;
    for (std::size_t axis = 1; axis < tensor.shape.size(); ++axis) row *= tensor.shape[axis];
    for (const std::string name : names) {
      if (!tensor.name.ends_with("." + name)) continue;
      for (std::size_t i = 0; i < tensor.shape[0]; ++i) {
        const auto begin = state.begin() + static_cast<std::ptrdiff_t>(tensor.offset + i * tensor.row_stride);
        values.insert(values.end(), begin, begin + static_cast<std::ptrdiff_t>(row));
      }
    }
  }
  return values;
}

// Slot 0 reads the tokens from the beginning at once, and wants all logits and inner losses. Checks that the
// step launches what it must in fast mode. REQUIRES: no cuBLASLt.
inline SegmentResult read_prompt(Backend& backend, const ModelConfig& config,
                                 std::span<const TokenId> tokens) {
  Segment segment;
  segment.tokens = tokens;
  segment.wanted.logits = Rows::kAll;
  segment.wanted.inner_losses = true;
  backend.reset(0);
  const Launches launches;
  backend.submit({&segment, 1});
  const SegmentResult result = backend.wait()[0];
  launches.check(prompt_launches(config, cuda::Precision::kFast, tokens.size()));
  return result;
}

// What the tokens give in slot 0. REQUIRES: `result` is of read_prompt().
inline FastErrors fast_errors(const RandomModel& model, std::span<const TokenId> tokens,
                              const SegmentResult& result, const Backend& backend) {
  const ModelConfig& config = model.model.config;
  const auto position = static_cast<std::int64_t>(tokens.size());
  const std::vector<double> logits = to_doubles(result.logits), losses = to_doubles(result.inner_losses);
  const std::vector<double> state = SavedState(backend, config, 0, position).all();
  naive::NaiveModel oracle(config, model.tensors);
  const std::vector<double> first = oracle.canonical_state();
  const std::vector<double> wanted = oracle.read_all(tokens);
  const std::vector<double> last = oracle.canonical_state();
  const auto relative = [](const std::vector<double>& found, const std::vector<double>& reference) {
    return relative_l2(found, reference, std::vector<double>(reference.size()));
  };
  const auto relative_parts = [&](std::initializer_list<const char*> names) {
    return relative(parts_of(config, position, state, names), parts_of(config, position, last, names));
  };
  FastErrors errors;
  errors.divergence = mean_divergence(logits, wanted, config.vocab_size);
  errors.losses = relative(losses, oracle.inner_losses());
  for (const char* name : {"W1", "b1", "W2", "b2"}) {
    errors.learned = std::max(errors.learned, relative_l2(parts_of(config, position, state, {name}),
                                                          parts_of(config, position, last, {name}),
                                                          parts_of(config, 0, first, {name})));
  }
  errors.conv_inputs = relative_parts({"pre_conv", "qk_conv"});
  errors.open_rows = relative_parts({"open.key", "open.hidden", "open.gradient_1", "open.gradient_2"});
  return errors;
}

}  // namespace ttt::test
