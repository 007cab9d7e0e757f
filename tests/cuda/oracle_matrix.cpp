// SPDX-License-Identifier: Apache-2.0
// The CUDA backend against the float64 oracle over a table: the head sizes of models, mini-batches with and
// without kernels of their own, both inner models, every switch, lengths around a mini-batch and long ones,
// in both modes. Which kernels ran is part of what is checked. The emulator reads what it can in seconds; all
// of it, with the largest errors:
//   cuda_tests "[.matrix]"
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "cuda/cuda_backend.h"
#include "cuda/kernels/ttt_linear_prefill.h"
#include "cuda/kernels/ttt_mlp_prefill.h"
#include "tests/cuda/device_config.h"
#include "tests/cuda/fast_errors.h"
#include "tests/cuda/launches.h"
#include "tests/cuda/prefill_run.h"
#include "tests/cuda/step_launches.h"
#include "tests/oracle_errors.h"
#include "tests/random.h"
#include "tests/random_model.h"
#include "tests/same_bits.h"
#include "tests/sanitized.h"

namespace ttt {
namespace {

constexpr double kMatrixTolerance = 5e-5;  // exact mode, maximum over rms
// Fast mode, the inner loop's output without the residual, relative L2.
constexpr double kLinearOutput = 5e-3, kMlpOutput = 7e-3;

constexpr LayerType kInnerModels[] = {LayerType::kTttLinear, LayerType::kTttMlp};
constexpr std::size_t kHeadSizes[] = {64, 96, 128}, kMiniBatches[] = {16, 8};
constexpr std::size_t kLengths[] = {2, 15, 16, 17, 100, 600};

enum Switch : unsigned { kPreConv = 1, kShareQk = 2, kUseGate = 4, kTied = 8, kAllSwitches = 15 };

struct MatrixCase {
  LayerType type;
  std::size_t head_size, mini_batch_size, num_tokens;
  unsigned switches;

  ModelConfig config() const {
    ModelConfig config = test::device_config(type, 1, head_size);
    config.mini_batch_size = mini_batch_size;
    config.pre_conv = (switches & kPreConv) != 0;
    config.share_qk = (switches & kShareQk) != 0;
    config.use_gate = (switches & kUseGate) != 0;
    config.tie_word_embeddings = (switches & kTied) != 0;
    return config;
  }
  std::string name() const {
    return fmt::format("{} f {} K {} tokens {} pre_conv {} share_qk {} use_gate {} tied {}", to_string(type),
                       head_size, mini_batch_size, num_tokens, switches & kPreConv ? 1 : 0,
                       switches & kShareQk ? 1 : 0, switches & kUseGate ? 1 : 0, switches & kTied ? 1 : 0);
  }
};

// Every combination of switches, where it costs least: a mini-batch that is full and one that is open.
std::vector<MatrixCase> all_switches() {
  std::vector<MatrixCase> cases;
  for (const LayerType type : kInnerModels) {
    for (const std::size_t K : kMiniBatches) {
      for (unsigned switches = 0; switches <= kAllSwitches; ++switches) {
        cases.push_back({type, 64, K, 17, switches});
      }
    }
  }
  return cases;
}

// Every combination of the rest, each with a set of switches and with the opposite one: so each value meets
// each switch in both positions.
std::vector<MatrixCase> all_shapes() {
  std::vector<MatrixCase> cases;
  unsigned switches = 0;
  for (const LayerType type : kInnerModels) {
    for (const std::size_t K : kMiniBatches) {
      for (const std::size_t f : kHeadSizes) {
        for (const std::size_t tokens : kLengths) {
          switches = (switches + 5) % (kAllSwitches + 1);  // 5 and 16 have no common divisor: all come up
          cases.push_back({type, f, K, tokens, switches});
          cases.push_back({type, f, K, tokens, kAllSwitches - switches});
        }
      }
    }
  }
  return cases;
}

std::unique_ptr<Backend> matrix_backend(const Model& model, std::size_t tokens, cuda::Precision precision) {
  return cuda::make_cuda_backend(model, {.num_slots = 2,
                                         .max_batch_tokens = tokens,
                                         .max_logits_rows = tokens,
                                         .precision = precision,
                                         .deterministic = true});
}

// The last token alone, behind the others in slot 1: its logits are those that it has in `whole`.
void check_last_alone(Backend& backend, const ModelConfig& config, cuda::Precision precision,
                      const std::vector<TokenId>& tokens, const std::vector<float>& whole) {
  Segment segment;
  segment.slot = 1;
  segment.tokens = std::span(tokens).first(tokens.size() - 1);
  backend.reset(1);
  backend.submit({&segment, 1});
  backend.wait();
  segment.position = static_cast<std::int64_t>(tokens.size()) - 1;
  segment.tokens = std::span(tokens).last(1);
  segment.wanted.logits = Rows::kLast;
  const test::Launches launches;
  backend.submit({&segment, 1});
  const std::span<const float> found = backend.wait()[0].logits;
  launches.check(test::decode_launches(config, precision));
  CHECK(test::same_bits(found, std::span(whole).last(config.vocab_size)));
}

test::OracleErrors check_exact(const test::RandomModel& model, const std::vector<TokenId>& tokens) {
  const ModelConfig& config = model.model.config;
  const auto backend = matrix_backend(model.model, tokens.size(), cuda::Precision::kExact);
  const test::Launches launches;
  const test::OracleErrors errors = test::oracle_errors(model, tokens, *backend);
  launches.check(test::prompt_launches(config, cuda::Precision::kExact, tokens.size()));
  CHECK(errors.logits <= kMatrixTolerance);
  CHECK(errors.fast_weights <= kMatrixTolerance);
  CHECK(errors.conv_inputs <= kMatrixTolerance);
  CHECK(errors.open_rows <= kMatrixTolerance);
  CHECK(errors.losses <= kMatrixTolerance);
  return errors;
}

test::FastErrors check_fast(const test::RandomModel& model, const std::vector<TokenId>& tokens) {
  const ModelConfig& config = model.model.config;
  const auto backend = matrix_backend(model.model, tokens.size(), cuda::Precision::kFast);
  const SegmentResult result = test::read_prompt(*backend, config, tokens);
  const std::vector<float> logits(result.logits.begin(), result.logits.end());
  const test::FastErrors errors = test::fast_errors(model, tokens, result, *backend);
  errors.check();
  check_last_alone(*backend, config, cuda::Precision::kFast, tokens, logits);
  return errors;
}

struct MatrixErrors {
  double exact_logits = 0.0, exact_state = 0.0;
  test::FastErrors fast;
};

MatrixErrors check_case(const MatrixCase& one) {
  INFO(one.name());
  const test::RandomModel model(one.config(), 1);
  const std::vector<TokenId> tokens = test::Random(2).tokens(one.num_tokens, one.config().vocab_size);
  const test::OracleErrors exact = check_exact(model, tokens);
  return {exact.logits, std::max({exact.fast_weights, exact.open_rows, exact.conv_inputs, exact.losses}),
          check_fast(model, tokens)};
}

// The tensor-core kernel by itself, fed with numbers of bf16.
test::PrefillError inner_errors(LayerType type, std::size_t head_size,
                                const std::vector<std::size_t>& lengths) {
  const bool mlp = type == LayerType::kTttMlp;
  const test::PrefillLayout layout{
      .head_size = head_size, .inner_size = mlp ? 4 * head_size : head_size, .num_heads = 1, .mlp = mlp};
  test::Random random(head_size);
  std::vector<test::PrefillSequence> sequences;
  for (const std::size_t length : lengths) {
    sequences.push_back(test::random_sequence(random, layout, sequences.size(), {length}));
  }
  test::share_parameters(sequences);
  const auto kernel = [&](const cuda::TttPrefillParams& params, cudaStream_t stream) {
    (mlp ? cuda::launch_ttt_mlp_prefill : cuda::launch_ttt_linear_prefill)(static_cast<int>(head_size),
                                                                           params, stream);
  };
  const test::Launches launches;
  const test::PrefillResult result = test::run_prefill(kernel, layout, sequences);
  launches.check(
      {{test::inner_kernel_name(test::device_config(type, 1, head_size), cuda::Precision::kFast), 1}});
  return test::compare_prefill(result, layout, sequences);
}

test::PrefillError check_inner(LayerType type, std::size_t head_size,
                               const std::vector<std::size_t>& lengths) {
  INFO(to_string(type) << " f " << head_size);
  const test::PrefillError error = inner_errors(type, head_size, lengths);
  CHECK(error.out <= (type == LayerType::kTttMlp ? kMlpOutput : kLinearOutput));
  CHECK(error.weights <= 1e-2);
  CHECK(error.open_rows <= 1e-2);
  CHECK(error.losses <= 1e-2);
  return error;
}

}  // namespace

TEST_CASE("both modes agree with the float64 oracle under every combination of switches", "[slow]") {
  for (const MatrixCase& one : all_switches()) check_case(one);
}

TEST_CASE("both modes agree with the float64 oracle at every head size, mini-batch and length to 17") {
  std::size_t index = 0;
  for (const MatrixCase& one : all_shapes()) {
    const bool is_opposite = index++ % 2 == 1;
    if (one.num_tokens > 17 || is_opposite) continue;
    if (test::kSanitized && one.num_tokens != 17) continue;
    check_case(one);
  }
}

TEST_CASE("both modes agree with the float64 oracle over 100 tokens, and TTT-Linear over 600", "[slow]") {
  for (const LayerType type : kInnerModels) {
    for (const std::size_t f : kHeadSizes) check_case({type, f, 16, 100, kAllSwitches});
    check_case({type, 64, 8, 100, kAllSwitches});
  }
  check_case({LayerType::kTttLinear, 64, 16, 600, kAllSwitches});
}

TEST_CASE("the inner loop's output on tensor cores agrees with float64 over 2 to 100 tokens", "[slow]") {
  for (const LayerType type : kInnerModels) {
    for (const std::size_t f : kHeadSizes) check_inner(type, f, {2, 15, 16, 17, 100});
  }
}

TEST_CASE("errors against float64 over the whole matrix", "[.matrix]") {
  using Key = std::tuple<LayerType, std::size_t, std::size_t>;
  std::map<Key, MatrixErrors> worst;
  for (const auto& cases : {all_switches(), all_shapes()}) {
    for (const MatrixCase& one : cases) {
      const MatrixErrors errors = check_case(one);
      MatrixErrors& kept = worst[{one.type, one.head_size, one.mini_batch_size}];
      kept.exact_logits = std::max(kept.exact_logits, errors.exact_logits);
      kept.exact_state = std::max(kept.exact_state, errors.exact_state);
      kept.fast.keep_worst(errors.fast);
    }
  }
  fmt::print(
      "| inner model | f | K | exact: logits | state | fast: nats | losses | learned | open rows | o - q |\n"
      "|---|---|---|---|---|---|---|---|---|---|\n");
  for (const auto& [key, errors] : worst) {
    const auto [type, f, K] = key;
    const std::string out =
        K == 16 ? fmt::format("{:.1e}", check_inner(type, f, {2, 15, 16, 17, 100, 600}).out) : "-";
    fmt::print("| {} | {} | {} | {:.1e} | {:.1e} | {:.1e} | {:.1e} | {:.1e} | {:.1e} | {} |\n",
               to_string(type), f, K, errors.exact_logits, errors.exact_state, errors.fast.divergence,
               errors.fast.losses, errors.fast.learned, errors.fast.open_rows, out);
  }
}

}  // namespace ttt
