// SPDX-License-Identifier: Apache-2.0
#include "engine/tensor_types.h"

#include <catch2/catch.hpp>

#include "engine/random_weights.h"
#include "engine/step_cost.h"

using namespace ttt;
using weights::DType;

namespace {

DType type_of(const TensorTypes& types, std::string_view name, std::uint64_t inputs, bool is_matrix = true) {
  return stored_type(types, name, {64, inputs}, is_matrix);
}

}  // namespace

TEST_CASE("matrices take the type, small tensors stay F32") {
  for (const DType type :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_K, DType::kQ6_K}) {
    CHECK(type_of({.matrices = type}, "blk.0.attn_q.weight", 256) == type);
    CHECK(type_of({.matrices = type}, "blk.0.attn_norm.weight", 64, false) == DType::kF32);
  }
}

TEST_CASE("the embedding and the head stay Q8_0 beside Q4_0 unless asked") {
  const TensorTypes four{.matrices = DType::kQ4_0};
  CHECK(type_of(four, "token_embd.weight", 64) == DType::kQ8_0);
  CHECK(type_of(four, "output.weight", 64) == DType::kQ8_0);
  CHECK(type_of(four, "blk.0.attn_output.weight", 64) == DType::kQ4_0);
  const TensorTypes asked{.matrices = DType::kQ4_0, .kept = {{"output.*", DType::kQ4_0}}};
  CHECK(type_of(asked, "output.weight", 64) == DType::kQ4_0);
  CHECK(type_of(asked, "token_embd.weight", 64) == DType::kQ8_0);
  CHECK(type_of({.matrices = DType::kF16}, "output.weight", 64) == DType::kF16);
}

TEST_CASE("the embedding and the head are Q6_K beside Q4_K unless asked") {
  const TensorTypes four{.matrices = DType::kQ4_K};
  CHECK(type_of(four, "token_embd.weight", 512) == DType::kQ6_K);
  CHECK(type_of(four, "output.weight", 512) == DType::kQ6_K);
  CHECK(type_of(four, "blk.0.attn_output.weight", 512) == DType::kQ4_K);
  const TensorTypes asked{.matrices = DType::kQ4_K, .kept = {{"output.*", DType::kQ4_K}}};
  CHECK(type_of(asked, "output.weight", 512) == DType::kQ4_K);
  CHECK(type_of({.matrices = DType::kQ6_K}, "output.weight", 512) == DType::kQ6_K);
}

TEST_CASE("a row that 256 does not divide gets blocks of 32 of about as many bits, or becomes F16") {
  CHECK(type_of({.matrices = DType::kQ4_K}, "blk.0.ffn_down.weight", 5504) == DType::kQ4_0);
  CHECK(type_of({.matrices = DType::kQ6_K}, "blk.0.ffn_down.weight", 5504) == DType::kQ8_0);
  CHECK(type_of({.matrices = DType::kQ4_K}, "token_embd.weight", 96) == DType::kQ8_0);
  CHECK(type_of({.matrices = DType::kQ4_K}, "blk.0.ffn_down.weight", 2736) == DType::kF16);
  CHECK(type_of({.matrices = DType::kQ6_K}, "blk.0.ffn_down.weight", 2736) == DType::kF16);
  const TensorTypes kept{.matrices = DType::kQ8_0, .kept = {{"blk.0.*", DType::kQ4_K}}};
  CHECK(type_of(kept, "blk.0.ffn_down.weight", 5504) == DType::kQ4_0);
}

TEST_CASE("a row that is no whole number of blocks becomes F16") {
  for (const DType type : {DType::kQ8_0, DType::kQ4_0}) {
    CHECK(type_of({.matrices = type}, "blk.0.ffn_down.weight", 176) == DType::kF16);
    CHECK(type_of({.matrices = type}, "token_embd.weight", 48) == DType::kF16);
  }
}

TEST_CASE("the first pattern that matches a matrix decides") {
  const TensorTypes types{.matrices = DType::kQ4_0,
                          .kept = {{"blk.0.*", DType::kF16}, {"blk.?.ffn_down*", DType::kQ8_0}}};
  CHECK(type_of(types, "blk.0.ffn_down.weight", 64) == DType::kF16);
  CHECK(type_of(types, "blk.1.ffn_down.weight", 64) == DType::kQ8_0);
  CHECK(type_of(types, "blk.1.ffn_up.weight", 64) == DType::kQ4_0);
  CHECK(type_of(types, "blk.0.attn_norm.weight", 64, false) == DType::kF32);
}

TEST_CASE("a pattern that no matrix matches is told") {
  const Model model = RandomWeights::without_bytes(official_config("125m"), DType::kF32);
  CHECK(unmatched_pattern({.kept = {{"blk.11.*", DType::kF16}}}, model).empty());
  CHECK(unmatched_pattern({.kept = {{"blk.*", DType::kF16}, {"blk.12.*", DType::kF16}}}, model) ==
        "blk.12.*");
  CHECK(unmatched_pattern({.kept = {{"*attn_norm*", DType::kF16}}}, model) == "*attn_norm*");
}

TEST_CASE("every official size is quantised, but for rows of 2736, which 32 does not divide") {
  for (const std::string& size : official_sizes()) {
    INFO(size);
    const ModelConfig config = official_config(size);
    struct Wanted {
      DType type, at_end, of_5504;
    };
    for (const auto& [type, at_end, of_5504] :
         {Wanted{DType::kQ8_0, DType::kQ8_0, DType::kQ8_0}, Wanted{DType::kQ4_0, DType::kQ8_0, DType::kQ4_0},
          Wanted{DType::kQ4_K, DType::kQ6_K, DType::kQ4_0},
          Wanted{DType::kQ6_K, DType::kQ6_K, DType::kQ8_0}}) {
      const Model model = RandomWeights::without_bytes(config, type);
      for (const NamedTensor& tensor : list_tensors(model)) {
        const bool is_end = tensor.view.name == "token_embd.weight" || tensor.view.name == "output.weight";
        const DType wanted = !tensor.is_matrix                  ? DType::kF32
                             : tensor.view.shape.back() == 2736 ? DType::kF16
                             : tensor.view.shape.back() == 5504 ? of_5504
                             : is_end                           ? at_end
                                                                : type;
        CHECK(tensor.view.dtype == wanted);
      }
      CHECK(is_quantised(model));
    }
    CHECK_FALSE(is_quantised(RandomWeights::without_bytes(config, DType::kBF16)));
  }
}

TEST_CASE("a step's bytes are those of the types that the matrices fell back to") {
  ModelConfig config = official_config("125m");
  config.vocab_size = 50;
  config.hidden_size = 256;
  config.intermediate_size = 288;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 4;
  const RandomWeights random(config, DType::kQ4_K, 1);
  const std::uint64_t in_256s = 4 * 256 * 256 + 2 * 288 * 256;
  const std::uint64_t in_32s = 256 * 288;  // ffn_down
  CHECK(matrix_bytes(random.model()) == in_256s / 256 * 144 + in_32s / 32 * 18 + 50 * 210);
}

TEST_CASE("a step's bytes are those of the quantised matrices") {
  ModelConfig config = official_config("125m");
  config.vocab_size = 50;
  config.hidden_size = 96;
  config.intermediate_size = 160;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 3;
  const RandomWeights random(config, DType::kQ4_0, 1);
  const std::uint64_t weights = 4 * 96 * 96 + 3 * 96 * 160;
  CHECK(matrix_bytes(random.model()) == weights / 32 * 18 + 50 * 96 / 32 * 34);
}
