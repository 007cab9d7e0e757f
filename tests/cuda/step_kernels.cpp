// SPDX-License-Identifier: Apache-2.0
// Which kernel multiplies and which draws, in steps of a backend: by options, rows, types of weights and what
// is asked, and whether the machine has cuBLASLt.
#include <algorithm>
#include <catch2/catch.hpp>
#include <string_view>
#include <vector>

#include "cuda/cublas_lt.h"
#include "cuda/cuda_backend.h"
#include "cuda/forward.h"
#include "engine/sampler.h"
#include "tests/cuda/device_config.h"
#include "tests/cuda/installed_library.h"
#include "tests/cuda/launches.h"
#include "tests/error_metric.h"
#include "tests/random.h"
#include "tests/random_model.h"
#include "tests/same_bits.h"

namespace ttt {
namespace {

ModelConfig step_config() {
  ModelConfig config = test::device_config(LayerType::kTttLinear, 1, 64);
  config.vocab_size = 48;
  config.intermediate_size = 96;
  config.num_hidden_layers = 2;
  return config;
}

constexpr int kProductsOfLayer =
    8;  // with a gate, and q and k sharing theirs: q, v, gate, o, rates, three of SwiGLU

// Those of h together, o, gate with up, down.
constexpr int kLaunchesOfFewRows = 4;

std::vector<float> last_logits(Backend& backend, std::span<const TokenId> tokens) {
  Segment segment;
  segment.tokens = tokens;
  segment.wanted.logits = Rows::kLast;
  backend.reset(0);
  backend.submit({&segment, 1});
  const std::span<const float> logits = backend.wait()[0].logits;
  return {logits.begin(), logits.end()};
}

}  // namespace

TEST_CASE("the library does every product of many rows, and the own kernels those of few") {
  test::InstalledLibrary installed;
  if (!installed.is_there()) return;
  if (GENERATE(false, true)) installed.refuse_one_output(33);
  const test::RandomModel model(step_config(), 1);
  const auto backend = cuda::make_cuda_backend(model.model, {.max_batch_tokens = 100});
  const std::vector<TokenId> tokens = test::Random(2).tokens(100, 48);
  const int layers = 2;
  for (const std::size_t rows : {std::size_t{1}, std::size_t{32}, std::size_t{33}, std::size_t{100}}) {
    INFO(rows);
    const bool many = rows > 32;
    const test::Launches launches;
    last_logits(*backend, std::span(tokens).first(rows));
    const int refused = launches.of("product_mma");
    installed.check_refused(refused, rows, layers);
    launches.check({{"cublas_lt_multiply", many ? kProductsOfLayer * layers - refused : 0},
                    {"product_few", many ? 1 : kLaunchesOfFewRows * layers + 1},  // the head has one row
                    {"product_exact", 0}});
  }
  CHECK_FALSE(backend->info().bitwise_invariant);
  CHECK_THAT(backend->info().dispatch_target,
             Catch::EndsWith("-fast-cublaslt" + cuda::version_of(*cuda::cublas_lt())));
}

TEST_CASE("the head of many rows is the library's") {
  const test::InstalledLibrary installed;
  if (!installed.is_there()) return;
  const test::RandomModel model(step_config(), 1);
  const auto backend =
      cuda::make_cuda_backend(model.model, {.max_batch_tokens = 100, .max_logits_rows = 100});
  const std::vector<TokenId> tokens = test::Random(2).tokens(100, 48);
  Segment segment;
  segment.tokens = tokens;
  segment.wanted.logits = Rows::kAll;
  backend->reset(0);
  const test::Launches launches;
  backend->submit({&segment, 1});
  backend->wait();
  // 64 and 36 rows of the head
  launches.check({{"cublas_lt_multiply", kProductsOfLayer * 2 + 2}, {"product_mma", 0}});
}

TEST_CASE(
    "without the library, or where results are to be deterministic, the own kernels do all, with about the "
    "same result") {
  const test::RandomModel model(step_config(), 1);
  const std::vector<TokenId> tokens = test::Random(2).tokens(100, 48);
  // The head has one row.
  const auto run = [&](const cuda::CudaOptions& options, int num_library, int num_own) {
    const auto backend = cuda::make_cuda_backend(model.model, options);
    CHECK(backend->info().bitwise_invariant == (num_library == 0));
    const test::Launches launches;
    const std::vector<float> logits = last_logits(*backend, tokens);
    launches.check({{"cublas_lt_multiply", num_library}, {"product_mma", num_own}, {"product_few", 1}});
    return logits;
  };
  const int all = kProductsOfLayer * 2;
  const std::vector<float> without = run({.max_batch_tokens = 100}, 0, all);
  const test::InstalledLibrary installed;
  if (!installed.is_there()) return;
  const std::vector<float> with = run({.max_batch_tokens = 100}, all, 0);
  CHECK(test::same_bits(run({.max_batch_tokens = 100, .deterministic = true}, 0, all), without));
  // The same operands; fp32 sums in other orders, which the rounding of later operands to fp16 enlarges.
  CHECK_FALSE(test::same_bits(with, without));
  CHECK(test::mean_divergence(test::to_doubles(with), test::to_doubles(without), 48) <= 1e-6);
}

TEST_CASE("in exact mode the library is not used, nor is room for it taken") {
  const test::InstalledLibrary installed;
  if (!installed.is_there()) return;
  const test::RandomModel model(step_config(), 1);
  const cuda::CudaOptions fast{.max_batch_tokens = 100};
  cuda::CudaOptions exact = fast, deterministic = fast;
  exact.precision = cuda::Precision::kExact;
  deterministic.deterministic = true;
  const auto backend = cuda::make_cuda_backend(model.model, exact);
  CHECK(backend->info().bitwise_invariant);
  CHECK_THAT(backend->info().dispatch_target, Catch::EndsWith("-exact"));
  const test::Launches launches;
  last_logits(*backend, test::Random(2).tokens(100, 48));
  launches.check(
      {{"cublas_lt_multiply", 0}, {"product_mma", 0}, {"product_exact", kProductsOfLayer * 2 + 1}});
  CHECK(cuda::plan_memory(model.model, fast).workspace -
            cuda::plan_memory(model.model, deterministic).workspace ==
        cuda::kLibraryWorkspaceBytes);
  CHECK(cuda::plan_memory(model.model, exact).workspace < cuda::kLibraryWorkspaceBytes);
}

TEST_CASE("quantised matrices are multiplied as they are, also beside the library") {
  const test::InstalledLibrary installed;
  if (!installed.is_there()) return;
  ModelConfig config = step_config();
  config.hidden_size = config.intermediate_size = 256;
  config.num_attention_heads = 4;
  config.num_hidden_layers = 1;
  const test::RandomModel original(config, 3);
  const std::vector<TokenId> tokens = test::Random(4).tokens(40, 48);
  for (const weights::DType type : {weights::DType::kQ4_0, weights::DType::kQ6_K}) {
    INFO(weights::dtype_info(type).name);
    const test::ConvertedModel quantised(original.model, type);
    const auto exact = cuda::make_cuda_backend(
        quantised.model, {.max_batch_tokens = 100, .precision = cuda::Precision::kExact});
    const std::vector<float> wanted = last_logits(*exact, tokens);
    const auto fast = cuda::make_cuda_backend(quantised.model, {.max_batch_tokens = 100});
    CHECK(fast->info().weights_bytes <= exact->info().weights_bytes);
    const test::Launches launches;
    const std::vector<float> found = last_logits(*fast, tokens);
    const LayerWeights& layer = quantised.model.layers[0];
    int num_quantised = 0;
    for (const weights::TensorView* matrix :
         {&layer.attn_q, &layer.attn_v, &layer.gate, &layer.attn_output, &layer.lr_weight, &layer.ffn_gate,
          &layer.ffn_up, &layer.ffn_down, &quantised.model.output}) {
      if (weights::dtype_info(matrix->dtype).block_elements > 1) ++num_quantised;
    }
    CHECK(layer.ffn_down.dtype == type);
    CHECK(layer.lr_weight.dtype == weights::DType::kF32);
    // The head has one row.
    launches.check({{"product_quantised", num_quantised - 1},
                    {"product_few_quantised", 1},
                    {"cublas_lt_multiply", 1},
                    {"product_exact", 0}});
    const test::Launches of_few_rows;
    const std::vector<float> of_some = last_logits(*fast, std::span(tokens).first(17));
    of_few_rows.check({{"product_few_quantised", kLaunchesOfFewRows + 1},
                       {"product_few", 1},  // the rates
                       {"product_quantised", 0},
                       {"product_exact", 0}});
    CHECK(test::mean_divergence(test::to_doubles(of_some),
                                test::to_doubles(last_logits(*exact, std::span(tokens).first(17))),
                                48) <= 1e-3);
    CHECK(test::mean_divergence(test::to_doubles(found), test::to_doubles(wanted), 48) <= 1e-3);
  }
}

TEST_CASE("quantised matrices of many rows are expanded for the library, in room that was planned") {
  const test::InstalledLibrary installed;
  if (!installed.is_there()) return;
  ModelConfig config = step_config();
  config.hidden_size = config.intermediate_size = 256;
  config.num_attention_heads = 4;
  config.num_hidden_layers = 1;
  config.vocab_size = 2'000;  // the head is the largest matrix, and is not expanded
  const test::RandomModel original(config, 3);
  const test::ConvertedModel quantised(original.model, weights::DType::kQ8_0);
  const std::vector<TokenId> tokens = test::Random(4).tokens(128, 2'000);
  const int num_quantised = kProductsOfLayer - 1;  // all but the rates

  const cuda::CudaOptions options{.max_batch_tokens = 128};
  const auto library = cuda::make_cuda_backend(quantised.model, options);
  const test::Launches launches;
  const std::vector<float> found = last_logits(*library, tokens);
  launches.check({{"expand_weights", num_quantised},
                  {"cublas_lt_multiply", kProductsOfLayer},
                  {"product_quantised", 0},
                  {"product_few_quantised", 1}});  // the head has one row
  const test::Launches of_fewer;
  last_logits(*library, std::span(tokens).first(127));
  of_fewer.check({{"expand_weights", 0}, {"cublas_lt_multiply", 1}, {"product_quantised", num_quantised}});

  cuda::CudaOptions deterministic = options, smaller = options;
  deterministic.deterministic = true;
  smaller.max_batch_tokens = 127;
  const auto own = cuda::make_cuda_backend(quantised.model, deterministic);
  const test::Launches of_own;
  const std::vector<float> wanted = last_logits(*own, tokens);
  of_own.check({{"expand_weights", 0}, {"cublas_lt_multiply", 0}, {"product_quantised", num_quantised}});
  CHECK_FALSE(test::same_bits(found, wanted));  // the same weights; fp32 sums in another order
  CHECK(test::mean_divergence(test::to_doubles(found), test::to_doubles(wanted), 2'000) <= 1e-6);

  const auto library_bytes = [&](const Model& model, cuda::CudaOptions with) {
    cuda::CudaOptions without = with;
    without.deterministic = true;
    return cuda::plan_memory(model, with).workspace - cuda::plan_memory(model, without).workspace;
  };
  CHECK(library_bytes(quantised.model, options) == cuda::kLibraryWorkspaceBytes + 256 * 256 * 2);
  CHECK(library_bytes(quantised.model, smaller) == cuda::kLibraryWorkspaceBytes);
  CHECK(library_bytes(original.model, options) == cuda::kLibraryWorkspaceBytes);
}

TEST_CASE("tokens are drawn where it costs least, and are those of the sampler") {
  const test::RandomModel model(step_config(), 5);
  const auto backend = cuda::make_cuda_backend(model.model, {.max_batch_tokens = 100});
  test::Random random(6);
  std::vector<TokenCount> counts = {{3, 1, 2}, {17, 2, 0}, {40, 1, 1}};
  const std::vector<TokenId> banned = {9, 7, 2};
  struct Asked {
    SamplingParams params;
    std::string_view kernel;  // empty: the host draws
  };
  const std::vector<Asked> all = {
      {{.temperature = 0.0F}, "outputs"},
      {{.temperature = 0.0F, .repetition_penalty = 1.5F}, "draw"},
      {{.temperature = 0.8F}, "draw"},
      {{.temperature = 1.2F, .top_k = 9, .top_p = 0.8F, .min_p = 0.02F, .frequency_penalty = 0.5F}, "draw"},
      {{.temperature = 1.0F, .banned = {3, 1, 2}}, "draw"},
      {{.temperature = 1.0F, .typical_p = 0.5F}, ""},
      {{.temperature = 1.0F, .logit_bias = {{5, 2.0F}}}, ""},
      {{.temperature = 1.0F, .allowed = {5, 6}}, ""},
  };
  for (const Asked& asked : all) {
    const std::vector<TokenId> tokens = random.tokens(5, 48);
    SamplingParams params = asked.params;
    params.seed = random.bits();
    Segment segment;
    segment.tokens = tokens;
    segment.wanted.logits = Rows::kLast;
    segment.wanted.sample = &params;
    segment.wanted.counts = counts;
    if (asked.params.temperature > 0.0F) segment.wanted.banned = banned;
    backend->reset(0);
    const test::Launches launches;
    backend->submit({&segment, 1});
    const SegmentResult result = backend->wait()[0];
    const bool draws = asked.kernel == "draw";
    launches.check({{"draw", draws ? 1 : 0}, {"outputs", 1}});
    // Three tables, and the row of logits that was asked for; one more row for the host, one more table.
    CHECK(test::runtime_calls().copies == 4 + (asked.kernel.empty() || draws ? 1 : 0));
    const TokenLogProb wanted = sample(result.logits, params, 5, counts, segment.wanted.banned);
    CHECK(result.sampled.id == wanted.id);
    CHECK(result.sampled.log_prob == Approx(wanted.log_prob).margin(1e-5));

    Segment next;  // what was drawn is what is read
    next.position = 5;
    next.token_from_last_sample = true;
    next.wanted.logits = Rows::kLast;
    backend->submit({&next, 1});
    const std::span<const float> by_slot = backend->wait()[0].logits;
    const std::vector<float> found(by_slot.begin(), by_slot.end());
    std::vector<TokenId> with_sampled = tokens;
    with_sampled.push_back(wanted.id);
    CHECK(test::same_bits(found, last_logits(*backend, with_sampled)));
  }
}

TEST_CASE("long lists of counts and bans are the host's") {
  ModelConfig config = step_config();
  config.vocab_size = 3'000;
  config.num_hidden_layers = 1;
  const test::RandomModel model(config, 7);
  const auto backend = cuda::make_cuda_backend(model.model, {.max_batch_tokens = 100});
  const std::vector<TokenId> tokens = test::Random(8).tokens(3, 3'000);
  SamplingParams params{.temperature = 1.0F, .presence_penalty = 1.0F};
  for (const bool counts_are_long : {false, true}) {
    for (const std::size_t length : {std::size_t{1'024}, std::size_t{1'025}}) {
      std::vector<TokenCount> counts;
      std::vector<TokenId> banned;
      for (std::size_t id = 0; id < length; ++id) {
        if (counts_are_long) counts.push_back({static_cast<TokenId>(2 * id), 1, 1});
        if (!counts_are_long) banned.push_back(static_cast<TokenId>(2 * id));
      }
      Segment segment;
      segment.tokens = tokens;
      segment.wanted.logits = Rows::kLast;
      segment.wanted.sample = &params;
      segment.wanted.counts = counts;
      segment.wanted.banned = banned;
      backend->reset(0);
      const test::Launches launches;
      backend->submit({&segment, 1});
      const SegmentResult result = backend->wait()[0];
      launches.check({{"draw", length <= 1'024 ? 1 : 0}});
      CHECK(result.sampled.id == sample(result.logits, params, 3, counts, banned).id);
    }
  }
}

TEST_CASE("quantised weights beyond fp16 are refused in fast mode, with what to do") {
  ModelConfig config = step_config();
  config.num_hidden_layers = 1;
  const test::RandomModel original(config, 9, weights::DType::kF32, [](naive::Tensors& tensors) {
    for (auto& [name, tensor] : tensors) {
      if (name.ends_with("down_proj.weight")) std::ranges::fill(tensor, 1e6F);
    }
  });
  const test::ConvertedModel quantised(original.model, weights::DType::kQ8_0);
  CHECK_THROWS_WITH(cuda::make_cuda_backend(quantised.model, {}), Catch::Contains("--precision exact"));
  CHECK_THROWS_AS(cuda::make_cuda_backend(quantised.model, {}), cuda::DeviceError);
  CHECK_NOTHROW(cuda::make_cuda_backend(quantised.model, {.precision = cuda::Precision::kExact}));
}

}  // namespace ttt
