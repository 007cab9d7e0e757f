// SPDX-License-Identifier: Apache-2.0
// The CUDA backend keeps the contract: its kernels run in the block emulator, its runtime is the emulated
// one, which does nothing before somebody waits for it.
#include <catch2/catch.hpp>

#include "cuda/cuda_backend.h"
#include "tests/contract/backend_contract.h"
#include "tests/contract/odd_model.h"
#include "tests/random_model.h"
#include "tests/sanitized.h"

namespace ttt::contract {
namespace {

std::unique_ptr<Backend> make_on_device(const Model& model, std::size_t num_slots,
                                        std::size_t max_batch_tokens, std::size_t max_logits_rows,
                                        std::size_t) {
  return cuda::make_cuda_backend(
      model,
      {.num_slots = num_slots, .max_batch_tokens = max_batch_tokens, .max_logits_rows = max_logits_rows});
}

void check_all_on_device(const Model& model) {
  for (const Check& check : all_checks()) {
    INFO(check.name);
    CHECK(first_violation(check, {model, make_on_device}).value_or("") == "");
  }
}

// The smallest model that tells as much as odd_config(): the emulator takes as long for a row of 20 as for
// one of 4.
ModelConfig device_config(LayerType type) {
  ModelConfig config = odd_config(type);
  config.num_hidden_layers = 2;
  return config;
}

}  // namespace

// Under the address sanitizer these take minutes: there tests/cuda/ runs the same kernels.
TEST_CASE("the CUDA backend keeps the contract with TTT-Linear layers", "[slow]") {
  check_all_on_device(
      test::RandomModel(device_config(LayerType::kTttLinear), 1, weights::DType::kF32, tie_two_ids).model);
}

TEST_CASE("the CUDA backend keeps the contract with TTT-MLP layers and 16-bit weights", "[slow]") {
  check_all_on_device(
      test::RandomModel(device_config(LayerType::kTttMlp), 2, weights::DType::kBF16, tie_two_ids).model);
}

TEST_CASE("the CUDA backend keeps the contract without convolutions and with mini-batches of one token",
          "[slow]") {
  ModelConfig config = device_config(LayerType::kTttMlp);
  config.pre_conv = config.share_qk = config.use_gate = false;
  config.mini_batch_size = 1;
  config.num_hidden_layers = 1;
  check_all_on_device(test::RandomModel(config, 3).model);
}

}  // namespace ttt::contract
