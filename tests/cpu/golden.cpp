// SPDX-License-Identifier: Apache-2.0
// The CPU backend in F32 against float64 logits and states of the official implementation.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/dispatch.h"
#include "engine/model.h"
#include "tests/error_metric.h"
#include "tests/golden.h"
#include "tests/golden_errors.h"
#include "tests/random_model.h"

namespace ttt {
namespace {

constexpr double kLogitsTolerance = 1e-5;  // max over rms
constexpr double kStateTolerance = 1e-5;   // fast weights: max over rms, and L2 relative to what was learned
constexpr double kGradientTolerance = 3e-5;                // summed over the open mini-batch, max over rms
constexpr double kConvTolerance = 1e-5;                    // convolution inputs, max over rms
constexpr double kQ8Tolerance = 0.06, kQ4Tolerance = 0.5;  // logits, relative L2

test::GoldenErrors measure(const std::string& name, const std::string& target) {
  const test::GoldenCase golden(name);
  const Model model = load_model(golden.checkpoint);
  const std::size_t num_tokens = golden.input_ids.size();
  const auto backend = cpu::make_cpu_backend(model, {.num_slots = 1,
                                                     .max_batch_tokens = num_tokens,
                                                     .max_logits_rows = num_tokens,
                                                     .num_threads = 1,
                                                     .cpu_target = target});
  return test::golden_errors(golden, model.config, *backend);
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
    const test::GoldenErrors errors = measure(name, target);
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
    const test::GoldenErrors e = measure(name, "");
    fmt::print("| {} | {:.1e} | {:.1e} | {:.1e} | {:.1e} | {:.1e} | {:.1e} |\n", name, e.logits, e.state,
               e.learned, e.learned_beyond_storage, e.gradient, e.conv_inputs);
  }
}

}  // namespace ttt
