// SPDX-License-Identifier: Apache-2.0
// Does a device compute at all, and a short run for tools that make everything a hundred times slower.
#include <catch2/catch.hpp>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cuda/cuda_backend.h"
#include "tests/cuda/device_config.h"
#include "tests/cuda/launches.h"
#include "tests/cuda/step_launches.h"
#include "tests/error_metric.h"
#include "tests/random_model.h"

namespace ttt {
namespace {

constexpr double kTolerance = 5e-5;  // maximum over rms

// Raw logits of the tokens, read in three segments that end inside mini-batches.
std::vector<double> logits_of(Backend& backend, std::span<const TokenId> tokens) {
  std::vector<double> all;
  backend.reset(0);
  std::size_t position = 0;
  for (const std::size_t end : {std::size_t{1}, tokens.size() / 2, tokens.size()}) {
    Segment segment;
    segment.position = static_cast<std::int64_t>(position);
    segment.tokens = tokens.subspan(position, end - position);
    segment.wanted.logits = Rows::kAll;
    backend.submit({&segment, 1});
    const std::span<const float> logits = backend.wait()[0].logits;
    all.insert(all.end(), logits.begin(), logits.end());
    position = end;
  }
  return all;
}

ModelConfig probe_config(LayerType type, std::size_t num_heads, std::size_t head_size) {
  ModelConfig config = test::device_config(type, num_heads, head_size);
  config.num_hidden_layers = 2;
  return config;
}

// Logits of the device and of the CPU.
struct BothLogits {
  std::vector<double> device, cpu;
};

BothLogits read_with_both(const Model& model, cuda::Precision precision, std::size_t num_tokens) {
  std::vector<TokenId> tokens(num_tokens);
  for (std::size_t i = 0; i < num_tokens; ++i) {
    tokens[i] = static_cast<TokenId>(i * 7 % model.config.vocab_size);
  }
  const auto device = cuda::make_cuda_backend(model, {.num_slots = 1,
                                                      .max_batch_tokens = num_tokens,
                                                      .max_logits_rows = num_tokens,
                                                      .precision = precision});
  const auto cpu = cpu::make_cpu_backend(
      model,
      {.num_slots = 1, .max_batch_tokens = num_tokens, .max_logits_rows = num_tokens, .num_threads = 1});
  const test::Launches launches;
  std::vector<double> of_device = logits_of(*device, tokens);
  test::check_inner_kernel(launches, model.config, precision);
  return {std::move(of_device), logits_of(*cpu, tokens)};
}

void compare_exact(LayerType type, std::size_t num_tokens) {
  ModelConfig config = probe_config(type, 3, 16);
  config.mini_batch_size = 4;
  const BothLogits logits =
      read_with_both(test::RandomModel(config, 1).model, cuda::Precision::kExact, num_tokens);
  CHECK(test::max_over_rms(logits.device, logits.cpu) <= kTolerance);
}

// Divergence: nats a token.
void compare_fast(const Model& model, std::size_t num_tokens) {
  const BothLogits logits = read_with_both(model, cuda::Precision::kFast, num_tokens);
  CHECK(test::mean_divergence(logits.device, logits.cpu, model.config.vocab_size) <= 1e-3);
}

}  // namespace

TEST_CASE("a device reads four tokens as the CPU does", "[probe]") {
  compare_exact(LayerType::kTttLinear, 4);
}

TEST_CASE("in fast mode a device reads a mini-batch and a half as the CPU does", "[short]") {
  for (const LayerType type : {LayerType::kTttLinear, LayerType::kTttMlp}) {
    for (const std::size_t f : {64U, 96U}) {
      compare_fast(test::RandomModel(probe_config(type, 1, f), 1).model, 24);
    }
  }
}

TEST_CASE("in fast mode a device multiplies quantised weights, few rows and many, as the CPU does",
          "[short]") {
  ModelConfig config = probe_config(LayerType::kTttLinear, 4, 64);
  config.num_hidden_layers = 1;
  const test::RandomModel random(config, 1);
  for (const weights::DType type :
       {weights::DType::kQ8_0, weights::DType::kQ4_0, weights::DType::kQ4_K, weights::DType::kQ6_K}) {
    INFO(weights::dtype_info(type).name);
    compare_fast(test::ConvertedModel(random.model, type).model, 66);
  }
}

TEST_CASE("a device reads some mini-batches as the CPU does", "[short]") {
  compare_exact(LayerType::kTttLinear, 11);
  compare_exact(LayerType::kTttMlp, 11);
}

}  // namespace ttt
