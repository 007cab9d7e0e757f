// SPDX-License-Identifier: Apache-2.0
// Whether the errors of the prefill kernels grow with the length of a sequence: one head over 32k tokens
// against float64. It takes the emulator minutes, so it is run when asked for:
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

constexpr std::size_t kHeadSize = 64;

struct LengthError {
  std::size_t tokens = 0;
  double out = 0.0;      // relative L2 of o - q over the last fourth of the tokens
  double learned = 0.0;  // of W1, relative to what was learned
};

std::vector<LengthError> errors_over(const test::PrefillLayout& layout, const test::PrefillKernel& kernel) {
  const std::vector<std::size_t> lengths = {512, 2048, 8192, 32768};
  test::Random random(17);
  test::PrefillSequence sequence = test::random_sequence(random, layout, 0, {lengths.back()});
  const test::InnerProblem& problem = sequence.heads.front();
  test::InnerOracle oracle(problem.parameters, problem.weights);
  std::vector<LengthError> errors;
  Vector expected;
  for (const std::size_t length : lengths) {
    for (std::size_t t = expected.size() / kHeadSize; t < length; ++t) {
      const Vector normed = oracle.read(problem.q[t], problem.k[t], problem.target[t], problem.alpha[t]);
      expected.insert(expected.end(), normed.begin(), normed.end());
    }
    sequence.cuts = {length};
    const test::PrefillResult result = test::run_prefill(kernel, layout, {sequence});
    Vector out, wanted;
    for (std::size_t i = length / 4 * 3 * kHeadSize; i < expected.size(); ++i) {
      out.push_back(static_cast<double>(result.out[0][i]) - problem.q[i / kHeadSize][i % kHeadSize]);
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
  check_flat(errors_over({.head_size = kHeadSize, .inner_size = kHeadSize, .num_heads = 1, .mlp = false},
                         [](const cuda::TttPrefillParams& params, cudaStream_t stream) {
                           cuda::launch_ttt_linear_prefill(kHeadSize, params, stream);
                         }),
             5e-3);
  check_flat(errors_over({.head_size = kHeadSize, .inner_size = 4 * kHeadSize, .num_heads = 1, .mlp = true},
                         cuda::launch_ttt_mlp_prefill),
             7e-3);
}
