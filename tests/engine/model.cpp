// SPDX-License-Identifier: Apache-2.0
#include "engine/model.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/engine/checkpoint_folder.h"
#include "weights/checkpoint_error.h"

using namespace ttt;
using Catch::Matchers::Contains;
using test::CheckpointFolder;

TEST_CASE("a folder's tensors are found, with unit axes dropped") {
  const LayerType type = GENERATE(LayerType::kTttLinear, LayerType::kTttMlp);
  CheckpointFolder folder(test::small_config(type));
  const weights::Checkpoint checkpoint = folder.open();
  const Model model = load_model(checkpoint);
  REQUIRE(model.layers.size() == 2);
  const LayerWeights& layer = model.layers[1];
  CHECK(layer.conv_q_weight.shape == weights::Shape{16, 4});
  CHECK(layer.lr_weight.shape == weights::Shape{2, 16});
  CHECK(layer.inner_1_bias.shape == weights::Shape{2, model.config.inner_size()});
  CHECK(layer.inner_2_weight.bytes.empty() == (type == LayerType::kTttLinear));
  CHECK(layer.attn_k.bytes.empty());
  CHECK(model.output.bytes.data() == model.token_embd.bytes.data());
  CHECK(model.warnings.empty());
}

TEST_CASE("every switch asks for its own tensors") {
  ModelConfig config = test::small_config();
  config.pre_conv = GENERATE(false, true);
  config.share_qk = GENERATE(false, true);
  config.use_gate = GENERATE(false, true);
  config.tie_word_embeddings = GENERATE(false, true);
  CheckpointFolder folder(config);
  const weights::Checkpoint checkpoint = folder.open();
  const Model model = load_model(checkpoint);
  CHECK(model.layers[0].pre_conv_weight.bytes.empty() == !config.pre_conv);
  CHECK(model.layers[0].conv_k_bias.bytes.empty() == !config.share_qk);
  CHECK(model.layers[0].attn_k.bytes.empty() == config.share_qk);
  CHECK(model.layers[0].gate.bytes.empty() == !config.use_gate);
  CHECK((model.output.bytes.data() == model.token_embd.bytes.data()) == config.tie_word_embeddings);
}

TEST_CASE("a missing tensor is refused by its name in the file") {
  CheckpointFolder folder(test::small_config());
  folder.shapes.erase("model.layers.1.seq_modeling_block.conv_k.bias");
  const weights::Checkpoint checkpoint = folder.open();
  CHECK_THROWS_WITH(load_model(checkpoint), Contains("model.layers.1.seq_modeling_block.conv_k.bias") &&
                                                Contains("no such tensor") && Contains("[16]"));
}

TEST_CASE("a tensor of another shape is refused with both shapes") {
  CheckpointFolder folder(test::small_config());
  folder.shapes["model.layers.0.mlp.up_proj.weight"] = {16, 24};
  const weights::Checkpoint checkpoint = folder.open();
  CHECK_THROWS_WITH(load_model(checkpoint), Contains("mlp.up_proj.weight") && Contains("wanted [24, 16]") &&
                                                Contains("found [16, 24]"));
}

TEST_CASE("a configuration that contradicts the tensors is refused with its field") {
  CheckpointFolder folder(test::small_config());
  SECTION("gate off") {
    folder.config_json["use_gate"] = false;
    const weights::Checkpoint checkpoint = folder.open();
    CHECK_THROWS_WITH(load_model(checkpoint), Contains("g_proj") && Contains("use_gate"));
  }
  SECTION("pre-convolution off") {
    folder.config_json["pre_conv"] = false;
    const weights::Checkpoint checkpoint = folder.open();
    CHECK_THROWS_WITH(load_model(checkpoint), Contains("conv") && Contains("pre_conv"));
  }
  SECTION("separate q and k") {
    folder.config_json["share_qk"] = false;
    const weights::Checkpoint checkpoint = folder.open();
    CHECK_THROWS_WITH(load_model(checkpoint), Contains("k_proj"));
  }
  SECTION("a tensor nobody knows") {
    folder.shapes["model.layers.0.surprise"] = {2};
    folder.tensors["model.layers.0.surprise"] = {1.0F, 2.0F};
    const weights::Checkpoint checkpoint = folder.open();
    CHECK_THROWS_WITH(load_model(checkpoint), Contains("model.layers.0.surprise"));
  }
}

TEST_CASE("a tied head that is saved twice must be equal") {
  CheckpointFolder folder(test::small_config());
  folder.shapes["lm_head.weight"] = {40, 16};
  folder.tensors["lm_head.weight"] = folder.tensors["model.embed_tokens.weight"];
  SECTION("equal: accepted, listed once") {
    const weights::Checkpoint checkpoint = folder.open();
    const Model model = load_model(checkpoint);
    CHECK(std::ranges::none_of(list_tensors(model),
                               [](const auto& t) { return t.view.name == "output.weight"; }));
  }
  SECTION("different: refused with advice") {
    folder.tensors["lm_head.weight"][3] += 1.0F;
    const weights::Checkpoint checkpoint = folder.open();
    CHECK_THROWS_WITH(load_model(checkpoint), Contains("lm_head.weight") && Contains("tie_word_embeddings"));
  }
}

TEST_CASE("TTT-MLP with the base rate of TTT-Linear gives a warning") {
  ModelConfig config = test::small_config(LayerType::kTttMlp);
  config.ttt_base_lr = 1.0F;
  CheckpointFolder folder(config);
  const weights::Checkpoint checkpoint = folder.open();
  const Model model = load_model(checkpoint);
  REQUIRE(model.warnings.size() == 1);
  CHECK_THAT(model.warnings[0], Contains("ttt_base_lr") && Contains("0.1"));
}

TEST_CASE("tensors are listed once each, in name order, under their GGUF names") {
  CheckpointFolder folder(test::small_config(LayerType::kTttMlp));
  const weights::Checkpoint checkpoint = folder.open();
  const Model model = load_model(checkpoint);
  const auto list = list_tensors(model);
  CHECK(list.size() == checkpoint.tensors().size());
  CHECK(std::ranges::is_sorted(list, {}, [](const NamedTensor& t) { return t.view.name; }));
  const auto matrix =
      std::ranges::find(list, "blk.1.ffn_down.weight", [](const auto& t) { return t.view.name; });
  REQUIRE(matrix != list.end());
  CHECK(matrix->is_matrix);
  const auto inner =
      std::ranges::find(list, "blk.0.ttt_inner_1.weight", [](const auto& t) { return t.view.name; });
  REQUIRE(inner != list.end());
  CHECK_FALSE(inner->is_matrix);
}
