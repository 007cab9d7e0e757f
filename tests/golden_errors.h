// SPDX-License-Identifier: Apache-2.0
// A backend against a golden case: float64 logits and states of the official implementation.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/mini_batch.h"
#include "engine/model.h"
#include "tests/error_metric.h"
#include "tests/golden.h"
#include "tests/saved_state.h"

namespace ttt::test {

// The largest error of each kind over the layers of one case.
struct GoldenErrors {
  double logits = 0.0;
  double state = 0.0;
  double learned = 0.0,
         learned_beyond_storage = 0.0;  // relative to what was learned; without fp32_storage_error
  double gradient = 0.0;
  double conv_inputs = 0.0;
};

inline void raise(double& largest, double error) { largest = error > largest ? error : largest; }

// What fp32 state costs by itself, relative to what was learned: each commit rounds W, with an error of
// 3e-8 |W| in L2, and TTT-MLP has learned as little as |W| / 200.
inline double fp32_storage_error(const std::vector<double>& state, const std::vector<double>& initial,
                                 std::size_t num_commits) {
  const std::vector<double> zeros(state.size(), 0.0);
  return std::sqrt(static_cast<double>(num_commits)) * 3e-8 / relative_l2(initial, state, zeros);
}

// Golden windows are [d, c], ours [rows, d] with more rows: compares the last c - 1.
inline double conv_error(const std::vector<double>& window, const std::vector<double>& rows,
                         const ModelConfig& config) {
  const std::size_t d = config.hidden_size, c = config.conv_kernel, num_rows = rows.size() / d;
  std::vector<double> wanted, found;
  for (std::size_t age = c - 1; age > 0; --age) {
    for (std::size_t channel = 0; channel < d; ++channel) {
      wanted.push_back(window[channel * c + c - age]);
      found.push_back(rows[(num_rows - age) * d + channel]);
    }
  }
  return max_over_rms(found, wanted);
}

inline void compare_layer(const GoldenCase& golden, const ModelConfig& config, const SavedState& state,
                          std::size_t layer, GoldenErrors& errors) {
  const auto position = static_cast<std::int64_t>(golden.input_ids.size());
  const std::size_t open = phase_of(position, config.mini_batch_size), heads = config.num_attention_heads;
  const std::size_t num_commits = golden.input_ids.size() / config.mini_batch_size;
  std::vector<std::string> fast_weights = {"W1", "b1"};
  if (config.is_mlp()) fast_weights.insert(fast_weights.end(), {"W2", "b2"});
  for (const std::string& name : fast_weights) {
    const std::vector<double> wanted = golden.final_values(layer, name + "_states");
    const std::vector<double> found = state.values(layer, name);
    const std::vector<double> initial = read_doubles(*golden.checkpoint.find_tensor(
        "model.layers." + std::to_string(layer) + ".seq_modeling_block." + name));
    const double learned = relative_l2(found, wanted, initial);
    raise(errors.state, max_over_rms(found, wanted));
    raise(errors.learned, learned);
    raise(errors.learned_beyond_storage, learned - fp32_storage_error(wanted, initial, num_commits));
  }
  const auto compare_gradient = [&](const std::string& input, const std::string& gradient,
                                    const std::string& name) {
    raise(errors.gradient, max_over_rms(state.summed_gradient(layer, input, gradient, heads, open),
                                        golden.final_values(layer, name)));
  };
  compare_gradient("open.key", "open.gradient_1", "W1_grad");
  compare_gradient("", "open.gradient_1", "b1_grad");
  if (config.is_mlp()) {
    compare_gradient("open.hidden", "open.gradient_2", "W2_grad");
    compare_gradient("", "open.gradient_2", "b2_grad");
  }
  if (config.pre_conv) {
    raise(errors.conv_inputs,
          conv_error(golden.final_values(layer, "conv.pre_conv"), state.values(layer, "pre_conv"), config));
  }
  if (config.share_qk) {
    for (const char* name : {"conv.ttt_conv_q", "conv.ttt_conv_k"}) {
      raise(errors.conv_inputs,
            conv_error(golden.final_values(layer, name), state.values(layer, "qk_conv"), config));
    }
  }
}

// Reads the case into slot 0. REQUIRES: room for its tokens, and for as many rows of raw logits.
inline GoldenErrors golden_errors(const GoldenCase& golden, const ModelConfig& config, Backend& backend) {
  backend.reset(0);
  Segment segment;
  segment.tokens = golden.input_ids;
  segment.wanted.logits = Rows::kAll;
  backend.submit({&segment, 1});
  GoldenErrors errors;
  errors.logits = max_over_rms(to_doubles(backend.wait()[0].logits), golden.values("logits"));
  const SavedState state(backend, config, 0, static_cast<std::int64_t>(golden.input_ids.size()));
  for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    compare_layer(golden, config, state, layer, errors);
  }
  return errors;
}

}  // namespace ttt::test
