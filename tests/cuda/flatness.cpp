// SPDX-License-Identifier: Apache-2.0
// Whether the errors of the inner loop's kernels grow with the length of a sequence: one head over 32k tokens
// against float64, in both modes. It takes the emulator minutes, so it is run when asked for:
//   cuda_tests "[.flat]"
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <future>
#include <span>
#include <string>
#include <vector>

#include "cuda/cuda_check.h"
#include "cuda/kernels/inner_loop_exact.h"
#include "cuda/kernels/ttt_linear_prefill.h"
#include "cuda/kernels/ttt_mlp_prefill.h"
#include "tests/cuda/device_array.h"
#include "tests/cuda/launches.h"
#include "tests/cuda/prefill_run.h"
#include "tests/error_metric.h"

using namespace ttt;
using naive::Vector;

namespace {

// Of wide heads the emulator reads what it can in minutes.
#ifdef TTT_ON_DEVICE
constexpr std::size_t kLongestWide = 32'768;
#else
constexpr std::size_t kLongestWide = 8'192;
#endif
constexpr std::size_t kFlatFrom = 2'048;  // tokens
constexpr double kExactFlat = 5e-5;       // maximum over rms

// What float64 gives: N(z) of every token, and W1 after each length.
struct FlatOracle {
  std::vector<std::size_t> lengths;
  test::PrefillSequence sequence;
  Vector normed;  // [tokens, f]
  std::vector<Vector> W1;
};

FlatOracle flat_oracle(const test::PrefillLayout& layout, std::size_t longest) {
  FlatOracle result;
  for (const std::size_t length : {512U, 2'048U, 4'096U, 8'192U, 32'768U}) {
    if (length <= longest) result.lengths.push_back(length);
  }
  test::Random random(17);
  result.sequence = test::random_sequence(random, layout, 0, {longest});
  const test::InnerProblem& problem = result.sequence.heads.front();
  test::InnerOracle oracle(problem.parameters, problem.weights);
  std::size_t token = 0;
  for (const std::size_t length : result.lengths) {
    for (; token < length; ++token) {
      const Vector normed =
          oracle.read(problem.q[token], problem.k[token], problem.target[token], problem.alpha[token]);
      result.normed.insert(result.normed.end(), normed.begin(), normed.end());
    }
    result.W1.push_back(oracle.weights().W1);
  }
  return result;
}

struct FlatResult {
  std::vector<float> out, W1;
};

FlatResult run_fast(const test::PrefillLayout& layout, const test::PrefillSequence& whole,
                    std::size_t length) {
  test::PrefillSequence sequence = whole;
  sequence.cuts = {length};
  const auto kernel = [&](const cuda::TttPrefillParams& params, cudaStream_t stream) {
    (layout.mlp ? cuda::launch_ttt_mlp_prefill : cuda::launch_ttt_linear_prefill)(
        static_cast<int>(layout.head_size), params, stream);
  };
  const test::PrefillResult result = test::run_prefill(kernel, layout, {sequence});
  const auto W1 = result.state.begin() + static_cast<std::ptrdiff_t>(layout.W1());
  return {result.out[0], {W1, W1 + static_cast<std::ptrdiff_t>(layout.b1())}};
}

std::vector<float> floats_of(std::span<const Vector> rows) {
  std::vector<float> floats;
  for (const Vector& row : rows) floats.insert(floats.end(), row.begin(), row.end());
  return floats;
}

FlatResult run_exact(const test::PrefillLayout& layout, const test::PrefillSequence& sequence,
                     std::size_t length) {
  const auto f = static_cast<std::uint32_t>(layout.head_size),
             m = static_cast<std::uint32_t>(layout.inner_size);
  const test::InnerProblem& problem = sequence.heads.front();
  const test::InnerWeights& first = problem.weights;
  const std::vector<float> k = floats_of(std::span(problem.k).first(length));
  std::vector<float> v = floats_of(std::span(problem.target).first(length));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] += k[i];
  std::vector<float> weights = floats_of(std::vector{first.W1, first.b1, first.W2, first.b2});
  weights.resize(layout.slot_stride());
  const test::DeviceArray<float> state(weights), q(floats_of(std::span(problem.q).first(length))),
      device_k(k), device_v(v), out(std::vector(length * f, 0.0F)), losses(std::vector(length, 0.0F)),
      alpha(floats_of({&problem.alpha, 1})), eta(floats_of({&problem.parameters.token_eta, 1})),
      norm_weight(floats_of({&problem.parameters.norm_weight, 1})),
      norm_bias(floats_of({&problem.parameters.norm_bias, 1}));
  const test::DeviceArray<cuda::SegmentEntry> segment({{.state = state.get(),
                                                        .first_row = 0,
                                                        .num_rows = static_cast<std::uint32_t>(length),
                                                        .phase = 0,
                                                        .wants_losses = 0}});
  const cuda::InnerLoopParams params{
      .segments = segment.get(),
      .q = q.get(),
      .k = device_k.get(),
      .v = device_v.get(),
      .out = out.get(),
      .alpha = alpha.get(),
      .losses = losses.get(),
      .token_eta = eta.get(),
      .norm_weight = norm_weight.get(),
      .norm_bias = norm_bias.get(),
      .fast_weights = layout.W1(),
      .open_rows = layout.open_rows(),
      .open_row_stride = static_cast<std::uint32_t>(layout.open_row_floats()),
      .num_segments = 1,
      .heads = 1,
      .head_size = f,
      .inner_size = m,
      .mini_batch_size = test::kInnerK,
      .layer = 0,
      .num_layers = 1,
      .rows_per_run = cuda::inner_loop_rows_per_run(f, m, test::kInnerK, layout.mlp)};
  (layout.mlp ? cuda::launch_ttt_mlp_exact : cuda::launch_ttt_linear_exact)(params, nullptr);
  cuda::check(cudaDeviceSynchronize(), "an exact kernel");
  weights = state.read();
  weights.resize(layout.b1());
  return {out.read(), weights};
}

struct FlatError {
  double out = 0.0, W1 = 0.0;
};

// Of o - q over the last fourth of the tokens, and of W1. Fast: relative L2, of W1 relative to what was
// learned; exact: maximum over rms.
FlatError flat_error(const FlatOracle& oracle, std::size_t index, const FlatResult& result, bool fast) {
  const std::size_t length = oracle.lengths[index];
  const test::InnerProblem& problem = oracle.sequence.heads.front();
  const std::size_t f = problem.parameters.head_size;
  Vector out, wanted;
  for (std::size_t i = length / 4 * 3 * f; i < length * f; ++i) {
    out.push_back(static_cast<double>(result.out[i]) - problem.q[i / f][i % f]);
    wanted.push_back(oracle.normed[i]);
  }
  const Vector W1 = test::to_doubles(result.W1);
  if (!fast) return {test::max_over_rms(out, wanted), test::max_over_rms(W1, oracle.W1[index])};
  return {test::relative_l2(out, wanted, Vector(out.size())),
          test::relative_l2(W1, oracle.W1[index], problem.weights.W1)};
}

std::string kernel_name(const test::PrefillLayout& layout, bool fast) {
  if (!fast) return layout.mlp ? "ttt_mlp_exact" : "ttt_linear_exact";
  if (!layout.mlp) return "ttt_linear_prefill";
  return layout.head_size == 64 ? "ttt_mlp_prefill" : "ttt_mlp_streamed";
}

void check_flat(const test::PrefillLayout& layout, const FlatOracle& oracle) {
  for (const bool fast : {false, true}) {
    double at_first = 0.0;
    for (std::size_t i = 0; i < oracle.lengths.size(); ++i) {
      const std::size_t length = oracle.lengths[i];
      const test::Launches launches;
      const FlatResult result = (fast ? run_fast : run_exact)(layout, oracle.sequence, length);
      launches.check({{kernel_name(layout, fast), 1}});
      const FlatError error = flat_error(oracle, i, result, fast);
      const std::string name = fmt::format("{} | {} | {} | {}", fast ? "fast" : "exact",
                                           layout.mlp ? "TTT-MLP" : "TTT-Linear", layout.head_size, length);
      fmt::print("| {} | {:.1e} | {:.1e} |\n", name, error.out, error.W1);
      INFO(name);
      CHECK(error.out <= (!fast ? kExactFlat : layout.mlp ? 7e-3 : 5e-3));
      CHECK(error.W1 <= (fast ? 1e-2 : kExactFlat));
      if (length == kFlatFrom) at_first = error.out;
      if (fast && length > kFlatFrom) CHECK(error.out <= 1.5 * at_first);
    }
  }
}

}  // namespace

TEST_CASE("errors of both modes' inner loop over 32k tokens", "[.flat]") {
  struct Case {
    test::PrefillLayout layout;
    std::future<FlatOracle> oracle;
  };
  std::vector<Case> cases;
  for (const bool mlp : {false, true}) {
    for (const std::size_t f : {64U, 96U, 128U}) {
      const test::PrefillLayout layout{
          .head_size = f, .inner_size = mlp ? 4 * f : f, .num_heads = 1, .mlp = mlp};
      const std::size_t longest = f == 64 ? 32'768 : kLongestWide;
      cases.push_back({layout, std::async(std::launch::async, flat_oracle, layout, longest)});
    }
  }
  fmt::print("| mode | inner model | f | tokens | o - q | W1 |\n|---|---|---|---|---|---|\n");
  for (Case& one : cases) check_flat(one.layout, one.oracle.get());
}
