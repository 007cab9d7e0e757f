// SPDX-License-Identifier: Apache-2.0
// Whether the errors of the prefill kernels grow with the length of a sequence: one head over 32k tokens
// against float64, one whose fast weights are streamed over 8k. It takes the emulator minutes, so it is run
// when asked for:
//   cuda_tests "errors of the prefill kernels over 32k tokens"
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <vector>

#include "cuda/kernels/ttt_linear_prefill.h"
#include "cuda/kernels/ttt_mlp_prefill.h"
#include "tests/cuda/prefill_run.h"
#include "tests/error_metric.h"

using namespace ttt;
using naive::Vector;

namespace {

struct LengthError {
  std::size_t tokens = 0;
  double out = 0.0;      // relative L2 of o - q over the last fourth of the tokens
  double learned = 0.0;  // of W1, relative to what was learned
};

using LaunchPrefill = void(int head_size, const cuda::TttPrefillParams& params, cudaStream_t stream);

std::vector<LengthError> errors_over(const std::vector<std::size_t>& lengths,
                                     const test::PrefillLayout& layout, LaunchPrefill* launch) {
  const std::size_t f = layout.head_size;
  const auto kernel = [&](const cuda::TttPrefillParams& params, cudaStream_t stream) {
    launch(static_cast<int>(f), params, stream);
  };
  test::Random random(17);
  test::PrefillSequence sequence = test::random_sequence(random, layout, 0, {lengths.back()});
  const test::InnerProblem& problem = sequence.heads.front();
  test::InnerOracle oracle(problem.parameters, problem.weights);
  std::vector<LengthError> errors;
  Vector expected;
  for (const std::size_t length : lengths) {
    for (std::size_t t = expected.size() / f; t < length; ++t) {
      const Vector normed = oracle.read(problem.q[t], problem.k[t], problem.target[t], problem.alpha[t]);
      expected.insert(expected.end(), normed.begin(), normed.end());
    }
    sequence.cuts = {length};
    const test::PrefillResult result = test::run_prefill(kernel, layout, {sequence});
    Vector out, wanted;
    for (std::size_t i = length / 4 * 3 * f; i < expected.size(); ++i) {
      out.push_back(static_cast<double>(result.out[0][i]) - problem.q[i / f][i % f]);
      wanted.push_back(expected[i]);
    }
    const Vector& W1 = oracle.weights().W1;
    const Vector found = test::to_doubles(std::span(result.state).subspan(layout.W1(), W1.size()));
    errors.push_back({length, test::relative_l2(out, wanted, Vector(out.size())),
                      test::relative_l2(found, W1, problem.weights.W1)});
    fmt::print("| {} | {:.1e} | {:.1e} |\n", length, errors.back().out, errors.back().learned);
  }
  return errors;
}

void check_flat(const std::vector<LengthError>& errors, double tolerance) {
  for (const LengthError& error : errors) {
    INFO(error.tokens << " tokens");
    CHECK(error.out <= tolerance);
    CHECK(error.learned <= 1e-2);
  }
  CHECK(errors.back().out <= 1.5 * errors.front().out);
}

}  // namespace

TEST_CASE("errors of the prefill kernels over 32k tokens", "[.flat]") {
  fmt::print("| tokens | o - q | W1 |\n|---|---|---|\n");
  check_flat(
      errors_over({512, 2048, 8192, 32768}, {.head_size = 64, .inner_size = 64, .num_heads = 1, .mlp = false},
                  cuda::launch_ttt_linear_prefill),
      5e-3);
  check_flat(
      errors_over({512, 2048, 8192, 32768}, {.head_size = 64, .inner_size = 256, .num_heads = 1, .mlp = true},
                  cuda::launch_ttt_mlp_prefill),
      7e-3);
  check_flat(errors_over({512, 2048, 8192}, {.head_size = 96, .inner_size = 384, .num_heads = 1, .mlp = true},
                         cuda::launch_ttt_mlp_prefill),
             7e-3);
}
