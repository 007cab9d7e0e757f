// SPDX-License-Identifier: Apache-2.0
// The CUDA backend in fp32 against float64 logits and states of the official
// implementation.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <string>

#include "cuda/cuda_backend.h"
#include "engine/model.h"
#include "tests/cuda/launches.h"
#include "tests/cuda/step_launches.h"
#include "tests/golden.h"
#include "tests/golden_errors.h"

namespace ttt {
namespace {

constexpr double kDeviceTolerance = 5e-5;  // max over rms, of everything

test::GoldenErrors golden_errors_on_device(const std::string& name) {
  const test::GoldenCase golden(name);
  const Model model = load_model(golden.checkpoint);
  const std::size_t num_tokens = golden.input_ids.size();
  const auto backend = cuda::make_cuda_backend(model, {.num_slots = 1,
                                                       .max_batch_tokens = num_tokens,
                                                       .max_logits_rows = num_tokens,
                                                       .precision = cuda::Precision::kExact});
  const test::Launches launches;
  const test::GoldenErrors errors = test::golden_errors(golden, model.config, *backend);
  test::check_inner_kernel(launches, model.config, cuda::Precision::kExact);
  CHECK(launches.of("product_few") + launches.of("product_mma") == 0);
  return errors;
}

void check_errors(const test::GoldenErrors& errors) {
  CHECK(errors.logits <= kDeviceTolerance);
  CHECK(errors.state <= kDeviceTolerance);
  CHECK(errors.learned_beyond_storage <= kDeviceTolerance);
  CHECK(errors.gradient <= kDeviceTolerance);
  CHECK(errors.conv_inputs <= kDeviceTolerance);
}

}  // namespace

TEST_CASE("on a device logits and states agree with the official implementation", "[slow]") {
  for (const std::string name : test::kGoldenCases) {
    INFO(name);
    check_errors(golden_errors_on_device(name));
  }
}

TEST_CASE("golden error figures on a device", "[.report]") {
  fmt::print("| case | logits | W, b | relative to learned | gradients | conv inputs |\n");
  fmt::print("|---|---|---|---|---|---|\n");
  for (const std::string name : test::kGoldenCases) {
    INFO(name);
    const test::GoldenErrors e = golden_errors_on_device(name);
    check_errors(e);
    fmt::print("| {} | {:.1e} | {:.1e} | {:.1e} | {:.1e} | {:.1e} |\n", name, e.logits, e.state, e.learned,
               e.gradient, e.conv_inputs);
  }
}

}  // namespace ttt
