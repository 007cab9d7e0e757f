// SPDX-License-Identifier: Apache-2.0
// The CPU backend keeps the contract: on random models of both layer types, and on a golden model.
#include <catch2/catch.hpp>

#include "cpu/cpu_backend.h"
#include "cpu/dispatch.h"
#include "tests/contract/backend_contract.h"
#include "tests/contract/odd_model.h"
#include "tests/golden.h"
#include "tests/random_model.h"
#include "tests/sanitized.h"

namespace ttt::contract {
namespace {

BackendFactory factory_of(const std::string& target) {
  return [target](const Model& model, std::size_t num_slots, std::size_t max_batch_tokens,
                  std::size_t max_logits_rows, std::size_t num_threads) {
    return cpu::make_cpu_backend(model, {.num_slots = num_slots,
                                         .max_batch_tokens = max_batch_tokens,
                                         .max_logits_rows = max_logits_rows,
                                         .min_parallel_work = 0,  // tiny models, yet every thread works
                                         .num_threads = num_threads,
                                         .cpu_target = target});
  };
}

// Under the sanitizers the best alone: kernels of all targets are watched in tests/cpu.
std::vector<std::string> targets() {
  std::vector<std::string> names = cpu::cpu_targets();
  if (test::kSanitized) names.resize(1);
  return names;
}

void check_all(const Model& model) {
  for (const std::string& target : targets()) {
    const BackendFactory make = factory_of(target);
    for (const Check& check : all_checks()) {
      INFO(check.name << " with " << target);
      CHECK(first_violation(check, {model, make}).value_or("") == "");
    }
  }
}

}  // namespace

TEST_CASE("the CPU backend keeps the contract with TTT-Linear layers") {
  check_all(test::RandomModel(odd_config(LayerType::kTttLinear), 1, weights::DType::kF32, tie_two_ids).model);
}

TEST_CASE("the CPU backend keeps the contract with TTT-MLP layers") {
  check_all(test::RandomModel(odd_config(LayerType::kTttMlp), 2, weights::DType::kF32, tie_two_ids).model);
}

TEST_CASE("the CPU backend keeps the contract without convolutions and with mini-batches of one token") {
  ModelConfig config = odd_config(LayerType::kTttLinear);
  config.pre_conv = config.share_qk = config.use_gate = false;
  config.mini_batch_size = 1;
  check_all(test::RandomModel(config, 3).model);
}

TEST_CASE("the CPU backend keeps the contract with 16-bit weights") {
  check_all(test::RandomModel(odd_config(LayerType::kTttMlp), 4, weights::DType::kBF16).model);
}

TEST_CASE("the CPU backend keeps the contract with quantised weights") {
  ModelConfig config = odd_config(LayerType::kTttMlp);
  config.hidden_size = 64;
  config.intermediate_size = 96;
  const weights::DType type = GENERATE(weights::DType::kQ8_0, weights::DType::kQ4_0);
  if (test::kSanitized && type != weights::DType::kQ4_0) return;  // kernels of both are watched in tests/cpu
  const test::RandomModel original(config, 5, weights::DType::kF32, tie_two_ids);
  const test::ConvertedModel quantised(original.model, type);
  REQUIRE(quantised.model.layers[0].ffn_down.dtype == type);
  check_all(quantised.model);
}

TEST_CASE("the CPU backend keeps the contract with blocks of 256 weights", "[slow]") {
  ModelConfig config = odd_config(LayerType::kTttLinear);
  config.hidden_size = 256;
  config.num_attention_heads = 4;
  config.intermediate_size = 256;
  const weights::DType type = GENERATE(weights::DType::kQ4_K, weights::DType::kQ6_K);
  const test::RandomModel original(config, 6, weights::DType::kF32, tie_two_ids);
  const test::ConvertedModel quantised(original.model, type);
  REQUIRE(quantised.model.layers[0].ffn_down.dtype == type);
  check_all(quantised.model);
}

TEST_CASE("the CPU backend keeps the contract on a golden model", "[slow]") {
  const test::GoldenCase golden("linear-mamba");
  const Model model = load_model(golden.checkpoint);
  check_all(model);
}

}  // namespace ttt::contract
