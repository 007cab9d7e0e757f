// SPDX-License-Identifier: Apache-2.0
#include "engine/export.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "engine/convert.h"
#include "tests/engine/checkpoint_folder.h"

using namespace ttt;
using test::CheckpointFolder;
using weights::DType;

namespace {

// Exports the model of `checkpoint` to a new folder under `folder` and opens that.
weights::Checkpoint exported(const CheckpointFolder& folder, const weights::Checkpoint& checkpoint) {
  const std::string path = folder.path("exported");
  std::filesystem::create_directory(path);
  const Model model = load_model(checkpoint);
  REQUIRE(export_model(
      model, list_exported(model), nullptr,
      {.tensors = path + "/model.safetensors", .config = path + "/config.json", .tokenizer = {}}, {}));
  return weights::Checkpoint::open(path);
}

weights::Checkpoint converted(const CheckpointFolder& folder, const weights::Checkpoint& source, DType type) {
  const std::string path = folder.path("out.gguf");
  convert(load_model(source), source.metadata(), nullptr, path, {.matrix_type = type});
  return weights::Checkpoint::open(path);
}

void check_same_tensors(const weights::Checkpoint& found, const weights::Checkpoint& wanted) {
  CHECK(found.tensors().size() == wanted.tensors().size());
  for (const weights::TensorView& tensor : wanted.tensors()) {
    CAPTURE(tensor.name);
    const weights::TensorView* other = found.find_tensor(tensor.name);
    REQUIRE(other != nullptr);
    CHECK(other->dtype == tensor.dtype);
    CHECK(other->shape == tensor.shape);
    CHECK(std::ranges::equal(other->bytes, tensor.bytes));
  }
}

}  // namespace

TEST_CASE("export: a folder converted and exported again has the same tensors, bit for bit") {
  const DType type = GENERATE(DType::kF32, DType::kF16, DType::kBF16);
  const LayerType layer_type = GENERATE(LayerType::kTttLinear, LayerType::kTttMlp);
  const bool all_on = GENERATE(true, false);
  ModelConfig config = test::small_config(layer_type);
  config.pre_conv = config.share_qk = config.use_gate = config.tie_word_embeddings = all_on;
  CheckpointFolder folder(config, type);
  const weights::Checkpoint source = folder.open();
  check_same_tensors(exported(folder, converted(folder, source, type)), source);
}

TEST_CASE("export: small tensors that 16 bits cannot hold stay F32 beside 16-bit matrices") {
  CheckpointFolder folder(test::small_config());
  const weights::Checkpoint source = folder.open();
  const weights::Checkpoint result = exported(folder, converted(folder, source, DType::kBF16));
  CHECK(result.find_tensor("model.embed_tokens.weight")->dtype == DType::kBF16);
  const weights::TensorView* norm = result.find_tensor("model.norm.weight");
  CHECK(norm->dtype == DType::kF32);
  CHECK(std::ranges::equal(norm->bytes, source.find_tensor("model.norm.weight")->bytes));
}

TEST_CASE("export: config.json gives the same configuration again") {
  ModelConfig config = test::small_config(LayerType::kTttMlp);
  config.name = "a \"name\" \\ with\ncontrol characters";
  config.rms_norm_eps = 1.1e-5F;
  config.rope_theta = 12345.678F;
  config.ttt_base_lr = 0.1F;
  config.conv_kernel = 3;
  config.context_length = 8192;
  config.tie_word_embeddings = false;
  config.share_qk = GENERATE(true, false);
  config.eos_token_id = GENERATE(std::optional<std::int32_t>(2), std::optional<std::int32_t>());
  const std::string json = config_to_json(config, DType::kBF16);
  weights::GgufMetadata before, after;
  append_config(config, before);
  append_config(config_from_json(json, "config.json"), after);
  CHECK(before == after);
  const nlohmann::json parsed = nlohmann::json::parse(json);
  CHECK(parsed.at("torch_dtype") == "bfloat16");
  CHECK(parsed.at("architectures").at(0) == "TTTForCausalLM");
  config.name = "\xff";  // a GGUF file's text need not be UTF-8
  CHECK_FALSE(nlohmann::json::parse(config_to_json(config, DType::kF32)).contains("_name_or_path"));
}

TEST_CASE("export: quantised matrices become F32, and giving up leaves no tensors") {
  ModelConfig config = test::small_config();
  config.hidden_size = 32;
  CheckpointFolder folder(config);
  const weights::Checkpoint source = folder.open();
  const weights::Checkpoint quantised = converted(folder, source, DType::kQ8_0);
  const weights::Checkpoint result = exported(folder, quantised);
  const weights::TensorView* embedding = result.find_tensor("model.embed_tokens.weight");
  CHECK(embedding->dtype == DType::kF32);
  CHECK_FALSE(std::ranges::equal(embedding->bytes, source.find_tensor("model.embed_tokens.weight")->bytes));

  const Model model = load_model(source);
  const std::string path = folder.path("given-up.safetensors");
  CHECK_FALSE(export_model(model, list_exported(model), nullptr,
                           {.tensors = path, .config = folder.path("given-up.json"), .tokenizer = {}},
                           [](std::uint64_t, std::uint64_t) { return false; }));
  CHECK_FALSE(std::filesystem::exists(path));
  CHECK_FALSE(std::filesystem::exists(folder.path("given-up.json")));
}
