// SPDX-License-Identifier: Apache-2.0
// The CUDA backend keeps the contract: its kernels run in the block emulator, its runtime is the emulated
// one, which does nothing before somebody waits for it.
#include <catch2/catch.hpp>

#include "cuda/cuda_backend.h"
#include "tests/contract/backend_contract.h"
#include "tests/contract/driver.h"
#include "tests/contract/odd_model.h"
#include "tests/cuda/launches.h"
#include "tests/cuda/step_launches.h"
#include "tests/random_model.h"
#include "weights/tensor.h"

namespace ttt::contract {
namespace {

void check_on_device(const std::vector<Check>& checks, const Model& model, cuda::Precision precision) {
  const BackendFactory make = [precision](const Model& m, std::size_t num_slots, std::size_t max_batch_tokens,
                                          std::size_t max_logits_rows, std::size_t) {
    return cuda::make_cuda_backend(m, {.num_slots = num_slots,
                                       .max_batch_tokens = max_batch_tokens,
                                       .max_logits_rows = max_logits_rows,
                                       .precision = precision,
                                       .deterministic = true});
  };
  const test::Launches launches;
  for (const Check& check : checks) {
    INFO(check.name);
    CHECK(first_violation(check, {model, make}).value_or("") == "");
  }
  test::check_inner_kernel(launches, model.config, precision);
}

void check_all_on_device(const Model& model, cuda::Precision precision) {
  check_on_device(all_checks(), model, precision);
}

// The smallest model that tells as much as odd_config(): the emulator takes as long for a row of 20 as for
// one of 4.
ModelConfig device_config(LayerType type) {
  ModelConfig config = odd_config(type);
  config.num_hidden_layers = 2;
  return config;
}

// The smallest that takes all of the fast kernels.
ModelConfig fast_config(LayerType type, std::size_t head_size = 64) {
  ModelConfig config = odd_config(type);
  config.hidden_size = head_size;
  config.num_attention_heads = 1;
  config.mini_batch_size = 16;
  config.intermediate_size = 24;
  config.num_hidden_layers = 1;
  return config;
}

// The same in a block type, whose rows have whole blocks.
ModelConfig quantised_config(LayerType type, weights::DType matrices) {
  ModelConfig config = fast_config(type);
  config.intermediate_size = 32;
  if (weights::dtype_info(matrices).block_elements == 32) return config;
  config.hidden_size = config.intermediate_size = 256;
  config.num_attention_heads = 4;
  return config;
}

void check_exact_quantised(weights::DType type) {
  const test::RandomModel original(quantised_config(LayerType::kTttLinear, type), 7, weights::DType::kF32,
                                   tie_two_ids);
  const test::ConvertedModel quantised(original.model, type);
  REQUIRE(quantised.model.layers[0].ffn_down.dtype == type);
  INFO(weights::dtype_info(type).name);
  check_on_device(exactness_checks(), quantised.model, cuda::Precision::kFast);
}

}  // namespace

// Under the address sanitizer these take minutes: there tests/cuda/ runs the same kernels.
TEST_CASE("the CUDA backend keeps the contract with TTT-Linear layers", "[slow]") {
  check_all_on_device(
      test::RandomModel(device_config(LayerType::kTttLinear), 1, weights::DType::kF32, tie_two_ids).model,
      cuda::Precision::kExact);
}

TEST_CASE("the CUDA backend keeps the contract with TTT-MLP layers and 16-bit weights", "[slow]") {
  check_all_on_device(
      test::RandomModel(device_config(LayerType::kTttMlp), 2, weights::DType::kBF16, tie_two_ids).model,
      cuda::Precision::kExact);
}

TEST_CASE("the CUDA backend keeps the contract without convolutions and with mini-batches of one token",
          "[slow]") {
  ModelConfig config = device_config(LayerType::kTttMlp);
  config.pre_conv = config.share_qk = config.use_gate = false;
  config.mini_batch_size = 1;
  config.num_hidden_layers = 1;
  check_all_on_device(test::RandomModel(config, 3).model, cuda::Precision::kExact);
}

// The emulator takes half a minute for TTT-Linear and more than a minute for each of the others: on a GPU
// they are run with everything else, in the emulator when asked for.
#ifdef TTT_ON_DEVICE
constexpr const char* kWholeContract = "[slow]";
#else
constexpr const char* kWholeContract = "[.contract]";
#endif

TEST_CASE("the CUDA backend keeps the contract in fast mode with TTT-Linear layers and weights to round",
          kWholeContract) {
  check_all_on_device(
      test::RandomModel(fast_config(LayerType::kTttLinear), 4, weights::DType::kF32, tie_two_ids).model,
      cuda::Precision::kFast);
}

TEST_CASE("the CUDA backend keeps the contract in fast mode with TTT-MLP layers and 16-bit weights",
          kWholeContract) {
  check_all_on_device(
      test::RandomModel(fast_config(LayerType::kTttMlp), 5, weights::DType::kBF16, tie_two_ids).model,
      cuda::Precision::kFast);
}

TEST_CASE(
    "the CUDA backend keeps the contract in fast mode with TTT-MLP layers whose fast weights are streamed",
    kWholeContract) {
  check_all_on_device(
      test::RandomModel(fast_config(LayerType::kTttMlp, 96), 6, weights::DType::kF32, tie_two_ids).model,
      cuda::Precision::kFast);
}

TEST_CASE("the CUDA backend keeps the exact part of the contract in fast mode", "[slow]") {
  check_on_device(
      exactness_checks(),
      test::RandomModel(fast_config(LayerType::kTttLinear), 4, weights::DType::kF32, tie_two_ids).model,
      cuda::Precision::kFast);
}

TEST_CASE("the CUDA backend keeps the exact part of the contract in fast mode with TTT-MLP layers",
          "[slow]") {
  check_on_device(
      exactness_checks(),
      test::RandomModel(fast_config(LayerType::kTttMlp), 5, weights::DType::kBF16, tie_two_ids).model,
      cuda::Precision::kFast);
}

TEST_CASE("the CUDA backend keeps the exact part of the contract in fast mode with quantised weights",
          "[slow]") {
  for (const weights::DType type : {weights::DType::kQ8_0, weights::DType::kQ4_0})
    check_exact_quantised(type);
}

TEST_CASE("the CUDA backend keeps the exact part of the contract in fast mode with blocks of 256 weights",
          kWholeContract) {
  for (const weights::DType type : {weights::DType::kQ4_K, weights::DType::kQ6_K})
    check_exact_quantised(type);
}

}  // namespace ttt::contract
