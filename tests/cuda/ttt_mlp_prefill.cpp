// SPDX-License-Identifier: Apache-2.0
// The tensor-core kernels of TTT-MLP in the emulator against float64.
#include "cuda/kernels/ttt_mlp_prefill.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <span>

#include "tests/cuda/launches.h"
#include "tests/cuda/prefill_run.h"
#include "tests/cuda/thread_order.h"
#include "tests/same_bits.h"
#include "tests/sanitized.h"

using namespace ttt;
using test::PrefillSequence;
using test::random_sequence;
using test::share_parameters;

namespace {

test::PrefillLayout mlp_layout(std::size_t head_size, std::size_t num_heads) {
  return {.head_size = head_size, .inner_size = 4 * head_size, .num_heads = num_heads, .mlp = true};
}

test::PrefillKernel mlp_kernel(std::size_t head_size) {
  return [head_size](const cuda::TttPrefillParams& params, cudaStream_t stream) {
    cuda::launch_ttt_mlp_prefill(static_cast<int>(head_size), params, stream);
  };
}

// Heads of 64 have a kernel that keeps the fast weights in registers.
void check_launches(const test::Launches& launches, std::size_t head_size, std::size_t calls) {
  const int count = static_cast<int>(calls);
  launches.check(
      {{"ttt_mlp_prefill", head_size == 64 ? count : 0}, {"ttt_mlp_streamed", head_size == 64 ? 0 : count}});
}

}  // namespace

TEST_CASE("TTT-MLP prefill is the update rule: any length, from any phase, in any slot") {
  const std::size_t f = GENERATE(64U, 96U, 128U);
  const std::size_t num_heads = f == 64 && !test::kSanitized ? 2 : 1;
  INFO("head size " << f);
  const test::PrefillLayout layout = mlp_layout(f, num_heads);
  test::Random random(f);
  std::vector<PrefillSequence> sequences;
  sequences.push_back(random_sequence(random, layout, 2, {3, 1, 45, 16}));
  sequences.push_back(random_sequence(random, layout, 0, {0, 17, 1, 14}));
  if (!test::kSanitized) {
    sequences.push_back(random_sequence(random, layout, 3, {100}));
    std::vector<std::size_t> cuts;
    for (int i = 0; i < 6; ++i) cuts.push_back(random.between(1, 20));
    sequences.push_back(random_sequence(random, layout, 4, cuts));
  }
  share_parameters(sequences);
  std::size_t num_calls = 0;
  for (const PrefillSequence& sequence : sequences) num_calls = std::max(num_calls, sequence.cuts.size());
  const test::Launches launches;
  const test::PrefillResult result = test::run_prefill(mlp_kernel(f), layout, sequences);
  check_launches(launches, f, num_calls);
  const test::PrefillError error = test::compare_prefill(result, layout, sequences);
  CHECK(error.out <= 7e-3);
  CHECK(error.out_max <= 1.0);
  CHECK(error.weights <= 1e-2);
  CHECK(error.open_rows <= 1e-2);
  CHECK(error.losses <= 1e-2);
  // Slot 1 is nobody's.
  for (std::size_t i = 0; i < layout.slot_stride(); ++i) {
    REQUIRE(std::isnan(result.state[layout.slot_stride() + i]));
  }
}

TEST_CASE("TTT-MLP prefill gives the same bits however a sequence is cut, in any order of threads") {
  const std::size_t f = GENERATE(64U, 96U, 128U);
  INFO("head size " << f);
  const test::PrefillLayout layout = mlp_layout(f, 1);
  test::Random random(7);
  const std::size_t length = 53;
  std::vector<PrefillSequence> whole = {random_sequence(random, layout, 0, {length})};
  share_parameters(whole);
  const test::PrefillResult expected = test::run_prefill(mlp_kernel(f), layout, whole);
  std::vector<std::vector<std::size_t>> cuttings = {{5, 11, 16, 20, 1}, {16, 16, 21}};
  if (!test::kSanitized) {
    cuttings.push_back(std::vector<std::size_t>(length, 1));
    cuttings.push_back({31, 2, 20});
    cuttings.push_back({15, 2, 15, 2, 15, 2, 2});
  }
  unsigned seed = 0;
  for (const auto& cuts : cuttings) {
    whole.front().cuts = cuts;
    const test::ThreadOrder order(++seed);
    const test::Launches launches;
    const test::PrefillResult cut = test::run_prefill(mlp_kernel(f), layout, whole);
    check_launches(launches, f, cuts.size());
    CHECK(test::same_bits(cut.out.front(), expected.out.front()));
    CHECK(test::same_bits(cut.losses.front(), expected.losses.front()));
    // Rows that were committed stay where they were open: they are not part of the state.
    const std::size_t valid = layout.open_rows() + length % test::kInnerK * layout.open_row_floats();
    CHECK(test::same_bits(std::span(cut.state).first(valid), std::span(expected.state).first(valid)));
  }
}

TEST_CASE("TTT-MLP prefill: which sizes") {
  CHECK(cuda::ttt_mlp_prefill_supports(64, 256, 16));
  CHECK(cuda::ttt_mlp_prefill_supports(96, 384, 16));
  CHECK(cuda::ttt_mlp_prefill_supports(128, 512, 16));
  CHECK_FALSE(cuda::ttt_mlp_prefill_supports(64, 256, 8));
  CHECK_FALSE(cuda::ttt_mlp_prefill_supports(64, 128, 16));
  CHECK_FALSE(cuda::ttt_mlp_prefill_supports(80, 320, 16));
  CHECK_THROWS_AS(cuda::launch_ttt_mlp_prefill(80, {}, nullptr), std::invalid_argument);
}
