// SPDX-License-Identifier: Apache-2.0
// The CPU backend in F32 against float64 logits and states of the official implementation.
#include "tests/golden.h"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/dispatch.h"
#include "engine/mini_batch.h"
#include "engine/model.h"
#include "tests/error_metric.h"
#include "tests/random_model.h"
#include "tests/saved_state.h"

namespace ttt {
namespace {

constexpr double kLogitsTolerance = 1e-5;  // max over rms
constexpr double kStateTolerance = 1e-5;   // fast weights: max over rms, and L2 relative to what was learned
constexpr double kGradientTolerance = 3e-5;                // summed over the open mini-batch, max over rms
constexpr double kConvTolerance = 1e-5;                    // convolution inputs, max over rms
constexpr double kQ8Tolerance = 0.06, kQ4Tolerance = 0.5;  // logits, relative L2

// The largest error of each kind over the layers of one case.
struct GoldenErrors {
  double logits = 0.0;
  double state = 0.0;
  double learned = 0.0,
         learned_beyond_storage = 0.0;  // relative to what was learned; without fp32_storage_error
  double gradient = 0.0;
  double conv_inputs = 0.0;
};

void raise(double& largest, double error) { largest = error > largest ? error : largest; }

// What fp32 state costs by itself, relative to what was learned: each commit rounds W, with an error of
// 3e-8 |W| in L2, and TTT-MLP has learned as little as |W| / 200.
double fp32_storage_error(const std::vector<double>& state, const std::vector<double>& initial,
                          std::size_t num_commits) {
  const std::vector<double> zeros(state.size(), 0.0);
  return std::sqrt(static_cast<double>(num_commits)) * 3e-8 / test::relative_l2(initial, state, zeros);
}

// Golden windows are [d, c], ours [rows, d] with more rows: compares the last c - 1.
double conv_error(const std::vector<double>& window, const std::vector<double>& rows,
                  const ModelConfig& config) {
  const std::size_t d = config.hidden_size, c = config.conv_kernel, num_rows = rows.size() / d;
  std::vector<double> wanted, found;
  for (std::size_t age = c - 1; age > 0; --age) {
    for (std::size_t channel = 0; channel < d; ++channel) {
      wanted.push_back(window[channel * c + c - age]);
      found.push_back(rows[(num_rows - age) * d + channel]);
    }
  }
  return test::max_over_rms(found, wanted);
}

void compare_layer(const test::GoldenCase& golden, const ModelConfig& config, const test::SavedState& state,
                   std::size_t layer, GoldenErrors& errors) {
  const auto position = static_cast<std::int64_t>(golden.input_ids.size());
  const std::size_t open = phase_of(position, config.mini_batch_size), heads = config.num_attention_heads;
  const std::size_t num_commits = golden.input_ids.size() / config.mini_batch_size;
  std::vector<std::string> fast_weights = {"W1", "b1"};
  if (config.is_mlp()) fast_weights.insert(fast_weights.end(), {"W2", "b2"});
  for (const std::string& name : fast_weights) {
    const std::vector<double> wanted = golden.final_values(layer, name + "_states");
    const std::vector<double> found = state.values(layer, name);
    const std::vector<double> initial = test::read_doubles(
        *golden.checkpoint.find_tensor(fmt::format("model.layers.{}.seq_modeling_block.{}", layer, name)));
    const double learned = test::relative_l2(found, wanted, initial);
    raise(errors.state, test::max_over_rms(found, wanted));
    raise(errors.learned, learned);
    raise(errors.learned_beyond_storage, learned - fp32_storage_error(wanted, initial, num_commits));
  }
  const auto compare_gradient = [&](const std::string& input, const std::string& gradient,
                                    const std::string& name) {
    raise(errors.gradient, test::max_over_rms(state.summed_gradient(layer, input, gradient, heads, open),
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

GoldenErrors measure(const std::string& name, const std::string& target) {
  const test::GoldenCase golden(name);
  const Model model = load_model(golden.checkpoint);
  const std::size_t num_tokens = golden.input_ids.size();
  const auto backend = cpu::make_cpu_backend(model, {.num_slots = 1,
                                                     .max_batch_tokens = num_tokens,
                                                     .max_logits_rows = num_tokens,
                                                     .num_threads = 1,
                                                     .cpu_target = target});
  backend->reset(0);
  Segment segment;
  segment.tokens = golden.input_ids;
  segment.wanted.logits = Rows::kAll;
  backend->submit({&segment, 1});
  GoldenErrors errors;
  errors.logits = test::max_over_rms(test::to_doubles(backend->wait()[0].logits), golden.values("logits"));
  const test::SavedState state(*backend, model.config, 0, static_cast<std::int64_t>(num_tokens));
  for (std::size_t layer = 0; layer < model.config.num_hidden_layers; ++layer) {
    compare_layer(golden, model.config, state, layer, errors);
  }
  return errors;
}

std::vector<double> logits_of(const Model& model, std::span<const TokenId> tokens,
                              const std::string& target) {
  const auto backend = cpu::make_cpu_backend(model, {.num_slots = 1,
                                                     .max_batch_tokens = tokens.size(),
                                                     .max_logits_rows = tokens.size(),
                                                     .num_threads = 1,
                                                     .cpu_target = target});
  backend->reset(0);
  Segment segment;
  segment.tokens = tokens;
  segment.wanted.logits = Rows::kAll;
  backend->submit({&segment, 1});
  return test::to_doubles(backend->wait()[0].logits);
}

}  // namespace

TEST_CASE("logits and states agree with the official implementation in every golden case") {
  const std::string target = GENERATE(from_range(cpu::cpu_targets()));
  for (const std::string name : test::kGoldenCases) {
    INFO(name << " " << target);
    const GoldenErrors errors = measure(name, target);
    CHECK(errors.logits <= kLogitsTolerance);
    CHECK(errors.state <= kStateTolerance);
    CHECK(errors.learned_beyond_storage <= kStateTolerance);
    CHECK(errors.gradient <= kGradientTolerance);
    CHECK(errors.conv_inputs <= kConvTolerance);
  }
}

// Loose: the inner loop learns from keys and values that are rounded to 8 bits, and the models are random. A
// wrong layout, scale or sign gives 1 and more.
TEST_CASE("quantised weights stay near the official implementation's logits", "[slow]") {
  const std::string target = GENERATE(from_range(cpu::cpu_targets()));
  for (const std::string name : test::kGoldenCases) {
    INFO(name << " " << target);
    const test::GoldenCase golden(name);
    const Model original = load_model(golden.checkpoint);
    const auto error_of = [&](weights::DType dtype) {
      const test::ConvertedModel quantised(original, dtype);
      const std::vector<double> wanted = golden.values("logits");
      const std::vector<double> zeros(wanted.size(), 0.0);
      return test::relative_l2(logits_of(quantised.model, golden.input_ids, target), wanted, zeros);
    };
    CHECK(error_of(weights::DType::kQ8_0) <= kQ8Tolerance);
    CHECK(error_of(weights::DType::kQ4_0) <= kQ4Tolerance);
  }
}

TEST_CASE("golden error figures", "[.report]") {
  fmt::print(
      "| case | logits | W, b | relative to learned | of that beyond fp32 storage | gradients | conv inputs "
      "|\n");
  fmt::print("|---|---|---|---|---|---|---|\n");
  for (const std::string name : test::kGoldenCases) {
    const GoldenErrors e = measure(name, "");
    fmt::print("| {} | {:.1e} | {:.1e} | {:.1e} | {:.1e} | {:.1e} | {:.1e} |\n", name, e.logits, e.state,
               e.learned, e.learned_beyond_storage, e.gradient, e.conv_inputs);
  }
}

}  // namespace ttt
