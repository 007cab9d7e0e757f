// SPDX-License-Identifier: Apache-2.0
// The order in which threads run between two barriers is nobody's promise: whatever it is, a step gives the
// same bits. Under the thread sanitizer this is also the search for races in every kernel of a step.
#include <emulated_device.h>

#include <catch2/catch.hpp>
#include <vector>

#include "cuda/cuda_backend.h"
#include "tests/cuda/device_config.h"
#include "tests/cuda/launches.h"
#include "tests/cuda/run_kernel.h"
#include "tests/cuda/step_launches.h"
#include "tests/random.h"
#include "tests/random_model.h"
#include "tests/same_bits.h"
#include "tests/sanitized.h"

namespace ttt {
namespace {

struct StepNumbers {
  std::vector<float> logits, losses, target_log_probs;
  std::vector<TokenLogProb> top;
};

StepNumbers numbers_of(const SegmentResult& result) {
  const auto own = [](auto span) { return std::vector(span.begin(), span.end()); };
  return {own(result.logits), own(result.inner_losses), own(result.target_log_probs), own(result.top)};
}

// A prompt beside a token of another sequence, then a token of each.
std::vector<StepNumbers> run_scheduled(const Model& model, cuda::Precision precision, std::size_t num_tokens,
                                       unsigned seed) {
  const test::ThreadOrder order(seed);
  const auto backend = cuda::make_cuda_backend(model, {.num_slots = 2,
                                                       .max_batch_tokens = num_tokens + 1,
                                                       .max_logits_rows = num_tokens + 1,
                                                       .precision = precision});
  const std::vector<TokenId> tokens = test::Random(1).tokens(num_tokens, model.config.vocab_size);
  Segment prompt;
  prompt.tokens = tokens;
  prompt.wanted.logits = prompt.wanted.log_probs = Rows::kAll;
  prompt.wanted.targets = tokens;
  prompt.wanted.targets_per_row = 1;
  prompt.wanted.top_n = 2;
  prompt.wanted.inner_losses = true;
  Segment decode;
  decode.slot = 1;
  decode.tokens = std::span(tokens).first(1);
  const Segment batch[] = {prompt, decode};
  backend->reset(0);
  backend->reset(1);
  backend->submit(batch);
  std::vector<StepNumbers> numbers = {numbers_of(backend->wait()[0])};
  prompt.position = static_cast<std::int64_t>(num_tokens);
  prompt.tokens = prompt.wanted.targets = std::span(tokens).first(1);
  decode.position = 1;
  decode.wanted.logits = Rows::kLast;
  const Segment tokens_of_both[] = {prompt, decode};
  backend->submit(tokens_of_both);
  for (const SegmentResult& result : backend->wait()) numbers.push_back(numbers_of(result));
  return numbers;
}

ModelConfig scheduled_config(LayerType type, std::size_t num_heads, std::size_t head_size,
                             std::size_t mini_batch_size) {
  ModelConfig config = test::device_config(type, num_heads, head_size);
  config.intermediate_size = 8;
  config.mini_batch_size = mini_batch_size;
  return config;
}

void check_orders(const ModelConfig& config, cuda::Precision precision, std::size_t num_tokens,
                  unsigned num_seeds) {
  const test::RandomModel model(config, 31);
  const test::Launches launches;
  const std::vector<StepNumbers> in_turn = run_scheduled(model.model, precision, num_tokens, 0);
  for (unsigned seed = 1; seed <= num_seeds; ++seed) {
    const std::vector<StepNumbers> found = run_scheduled(model.model, precision, num_tokens, seed);
    for (std::size_t i = 0; i < in_turn.size(); ++i) {
      INFO("seed " << seed << ", segment " << i);
      CHECK(test::same_bits(found[i].logits, in_turn[i].logits));
      CHECK(test::same_bits(found[i].losses, in_turn[i].losses));
      CHECK(test::same_bits(found[i].target_log_probs, in_turn[i].target_log_probs));
      CHECK(test::same_bits(found[i].top, in_turn[i].top));
    }
  }
  test::check_inner_kernel(launches, config, precision);
}

}  // namespace

TEST_CASE("a step on a device gives the same bits in every order of its threads") {
  for (const LayerType type : {LayerType::kTttLinear, LayerType::kTttMlp}) {
    check_orders(scheduled_config(type, 2, 4, 4), cuda::Precision::kExact, 9, test::kSanitized ? 1 : 5);
  }
}

TEST_CASE("a fast step gives the same bits in every order of its threads") {
  for (const LayerType type : {LayerType::kTttLinear, LayerType::kTttMlp}) {
    check_orders(scheduled_config(type, 1, 64, 16), cuda::Precision::kFast, 18, test::kSanitized ? 1 : 3);
  }
  check_orders(scheduled_config(LayerType::kTttMlp, 1, 96, 16), cuda::Precision::kFast, 18, 1);
}

}  // namespace ttt
