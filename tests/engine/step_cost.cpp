// SPDX-License-Identifier: Apache-2.0
#include "engine/step_cost.h"

#include <catch2/catch.hpp>

#include "engine/random_weights.h"

using namespace ttt;

TEST_CASE("operations of a token, against sums made by hand for the official sizes") {
  // 8 d^2 + 6 d m per layer; 6 d f + 2 (K + 1) d (Linear), 56 d f + 10 (K + 1) d (MLP).
  const TokenFlops small = token_flops(official_config("125m"));
  CHECK(small.products == 12.0 * (4'718'592 + 9'437'184));
  CHECK(small.inner_loop == 12.0 * 321'024);
  CHECK(small.sum() == small.products + small.inner_loop);
  CHECK(token_flops(official_config("125m-mlp")).inner_loop == 12.0 * 2'883'072);
  const TokenFlops large = token_flops(official_config("1.3b"));
  CHECK(large.products == 24.0 * (33'554'432 + 67'633'152));
  CHECK(large.inner_loop == 24.0 * 856'064);
  CHECK(token_flops(official_config("1.3b-mlp")).inner_loop == 24.0 * 7'688'192);
}

TEST_CASE("bytes of state that a token moves, by hand for 125m") {
  // Per layer 12 (64 * 64 + 64) = 49,920 floats of fast weights, 1,536 of an open row, 2 * 4 * 768 of
  // convolution inputs.
  CHECK(state_traffic_bytes(official_config("125m")) ==
        12.0 * 4.0 * (49'920.0 * 1.125 + 1'536.0 * 8.5 + 6'144.0));
}

TEST_CASE("an embedding of its own is no part of what every step reads, a tied one is the head") {
  ModelConfig config = official_config("125m");
  config.vocab_size = 50;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 3;
  const std::uint64_t matrices = 4 * 24 * 24 + 3 * 24 * 40;
  for (const bool tied : {true, false}) {
    config.tie_word_embeddings = tied;
    const RandomWeights random(config, weights::DType::kBF16, 1);
    CHECK(matrix_bytes(random.model()) == 2 * (matrices + 50 * 24));
  }
}

TEST_CASE("matrices in fp32 count half where they are kept in 16 bits, all others as they are") {
  const ModelConfig config = official_config("125m");
  const auto bytes = [&](weights::DType type, bool fp32_as_half) {
    return matrix_bytes(RandomWeights::without_bytes(config, type), fp32_as_half);
  };
  CHECK(bytes(weights::DType::kF32, true) * 2 == bytes(weights::DType::kF32, false));
  CHECK(bytes(weights::DType::kF32, true) == bytes(weights::DType::kBF16, true));
  CHECK(bytes(weights::DType::kBF16, true) == bytes(weights::DType::kBF16, false));
  CHECK(bytes(weights::DType::kQ8_0, true) == bytes(weights::DType::kQ8_0, false));
}
