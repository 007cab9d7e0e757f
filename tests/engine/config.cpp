// SPDX-License-Identifier: Apache-2.0
#include "engine/config.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/engine/checkpoint_folder.h"
#include "weights/checkpoint_error.h"

using namespace ttt;
using Catch::Matchers::Contains;
using weights::CheckpointError;

namespace {

ModelConfig parse(const nlohmann::json& json) { return config_from_json(json.dump(), "config.json"); }

}  // namespace

TEST_CASE("an empty config.json gives the reference's defaults") {
  const ModelConfig config = config_from_json("{}", "config.json");
  CHECK(config.vocab_size == 32000);
  CHECK(config.hidden_size == 2048);
  CHECK(config.intermediate_size == 5504);
  CHECK(config.num_hidden_layers == 24);
  CHECK(config.num_attention_heads == 32);
  CHECK(config.ttt_layer_type == LayerType::kTttLinear);
  CHECK(config.mini_batch_size == 16);
  CHECK(config.ttt_base_lr == 1.0F);
  CHECK(config.tie_word_embeddings);
  CHECK_FALSE(config.pre_conv);
  CHECK_FALSE(config.share_qk);
  CHECK_FALSE(config.use_gate);
  CHECK(config.conv_kernel == 4);
  CHECK(config.head_size() == 64);
  CHECK(config.inner_size() == 64);
}

TEST_CASE("config.json is read field by field") {
  nlohmann::json json = test::json_of(test::small_config(LayerType::kTttMlp));
  json["rope_theta"] = 500.0;
  json["rms_norm_eps"] = 1e-5;
  json["max_position_embeddings"] = 8192;
  json["pad_token_id"] = nullptr;
  const ModelConfig config = parse(json);
  CHECK(config.ttt_layer_type == LayerType::kTttMlp);
  CHECK(config.inner_size() == 32);
  CHECK(config.ttt_base_lr == 0.1F);
  CHECK(config.rope_theta == 500.0);
  CHECK(config.rms_norm_eps == 1e-5F);
  CHECK(config.context_length == 8192);
  CHECK(config.share_qk);
  CHECK(config.bos_token_id == 1);
  CHECK(config.eos_token_id == 2);
}

TEST_CASE("a wrong field of config.json is refused by name") {
  const auto [field, value] = GENERATE(table<std::string, std::string>({
      {"vocab_size", "0"},
      {"vocab_size", "-5"},
      {"vocab_size", "1.5"},
      {"vocab_size", "18446744073709551615"},
      {"hidden_size", "\"16\""},
      {"num_hidden_layers", "1000000"},
      {"num_attention_heads", "3"},
      {"num_attention_heads", "16"},  // head size 1 is odd
      {"ttt_layer_type", "\"attention\""},
      {"mini_batch_size", "0"},
      {"mini_batch_size", "4294967297"},
      {"conv_kernel", "65"},
      {"ttt_base_lr", "0"},
      {"ttt_base_lr", "-1"},
      {"rms_norm_eps", "0.0"},
      {"rms_norm_eps", "1e-60"},  // 0 as a float
      {"rope_theta", "\"big\""},
      {"share_qk", "1"},
      {"tie_word_embeddings", "\"yes\""},
      {"bos_token_id", "40"},
      {"hidden_act", "\"relu\""},
      {"model_type", "\"llama\""},
  }));
  nlohmann::json json = test::json_of(test::small_config());
  json[field] = nlohmann::json::parse(value);
  CHECK_THROWS_WITH(parse(json), Contains("config.json") && Contains(field) && Contains("wanted"));
  CHECK_THROWS_AS(parse(json), CheckpointError);
}

TEST_CASE("a config.json that is no object is refused") {
  CHECK_THROWS_AS(config_from_json("[]", "config.json"), CheckpointError);
  CHECK_THROWS_AS(config_from_json("", "config.json"), CheckpointError);
}

TEST_CASE("a configuration survives the way through GGUF metadata") {
  ModelConfig config = test::small_config(GENERATE(LayerType::kTttLinear, LayerType::kTttMlp));
  config.name = "small";
  config.rope_theta = 10000.3F;
  config.rms_norm_eps = 1e-5F;
  config.tie_word_embeddings = false;
  config.context_length = 8192;
  config.pre_conv = GENERATE(false, true);
  weights::GgufMetadata metadata;
  append_config(config, metadata);
  const ModelConfig again = config_from_gguf(metadata, "model.gguf");
  CHECK(again.name == config.name);
  CHECK(again.vocab_size == config.vocab_size);
  CHECK(again.hidden_size == config.hidden_size);
  CHECK(again.intermediate_size == config.intermediate_size);
  CHECK(again.num_hidden_layers == config.num_hidden_layers);
  CHECK(again.num_attention_heads == config.num_attention_heads);
  CHECK(again.ttt_layer_type == config.ttt_layer_type);
  CHECK(again.mini_batch_size == config.mini_batch_size);
  CHECK(again.ttt_base_lr == config.ttt_base_lr);
  CHECK(again.rms_norm_eps == config.rms_norm_eps);
  CHECK(again.rope_theta == config.rope_theta);
  CHECK(again.pre_conv == config.pre_conv);
  CHECK(again.share_qk == config.share_qk);
  CHECK(again.use_gate == config.use_gate);
  CHECK(again.conv_kernel == config.conv_kernel);
  CHECK(again.tie_word_embeddings == config.tie_word_embeddings);
  CHECK(again.context_length == config.context_length);
  CHECK(again.bos_token_id == config.bos_token_id);
  CHECK(again.eos_token_id == config.eos_token_id);
}

TEST_CASE("GGUF metadata of another kind is refused with the key") {
  weights::GgufMetadata metadata;
  append_config(test::small_config(), metadata);
  const auto set = [&](const std::string& key, weights::GgufValue value) {
    for (auto& entry : metadata) {
      if (entry.first == key) entry.second = std::move(value);
    }
  };
  SECTION("another architecture") {
    set("general.architecture", std::string("llama"));
    CHECK_THROWS_WITH(config_from_gguf(metadata, "m.gguf"),
                      Contains("general.architecture") && Contains("llama"));
  }
  SECTION("a newer format") {
    set("ttt.format_version", std::uint32_t{99});
    CHECK_THROWS_WITH(config_from_gguf(metadata, "m.gguf"),
                      Contains("ttt.format_version") && Contains("newer"));
  }
  SECTION("a negative size") {
    set("ttt.embedding_length", std::int32_t{-16});
    CHECK_THROWS_WITH(config_from_gguf(metadata, "m.gguf"),
                      Contains("ttt.embedding_length") && Contains("-16"));
  }
  SECTION("a number where a bool belongs") {
    set("ttt.share_qk", std::uint32_t{1});
    CHECK_THROWS_WITH(config_from_gguf(metadata, "m.gguf"), Contains("ttt.share_qk"));
  }
  SECTION("a required key is missing") {
    std::erase_if(metadata, [](const auto& entry) { return entry.first == "ttt.mini_batch_size"; });
    CHECK_THROWS_WITH(config_from_gguf(metadata, "m.gguf"),
                      Contains("ttt.mini_batch_size") && Contains("nothing"));
  }
}
