// SPDX-License-Identifier: Apache-2.0
#include "engine/convert.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "engine/text_settings.h"
#include "engine/tokenizer_metadata.h"
#include "engine/weights_hash.h"
#include "tests/engine/checkpoint_folder.h"
#include "weights/checkpoint_error.h"
#include "weights/element_type.h"

using namespace ttt;
using Catch::Matchers::Contains;
using test::CheckpointFolder;
using weights::DType;

namespace {

std::vector<float> values_of(const weights::TensorView& tensor) {
  std::vector<float> values(*weights::num_elements(tensor.shape));
  weights::to_floats(tensor.dtype, tensor.bytes, values);
  return values;
}

}  // namespace

TEST_CASE("a converted folder has the same configuration and the same weights") {
  const LayerType layer_type = GENERATE(LayerType::kTttLinear, LayerType::kTttMlp);
  const DType type = GENERATE(DType::kF32, DType::kF16, DType::kBF16);
  CheckpointFolder folder(test::small_config(layer_type));
  const weights::Checkpoint source = folder.open();
  const Model model = load_model(source);
  const std::string path = folder.path("out.gguf");
  const ConvertResult result =
      convert(model, source.metadata(), nullptr, path, {.matrix_type = type, .progress = {}});
  REQUIRE(result.completed);
  CHECK(result.file_bytes == std::filesystem::file_size(path));

  const weights::Checkpoint converted = weights::Checkpoint::open(path);
  const Model again = load_model(converted);
  CHECK(again.config.ttt_layer_type == layer_type);
  const auto before = list_tensors(model);
  const auto after = list_tensors(again);
  REQUIRE(before.size() == after.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    CAPTURE(before[i].view.name);
    CHECK(after[i].view.name == before[i].view.name);
    CHECK(after[i].view.shape == before[i].view.shape);
    CHECK(after[i].view.dtype == (before[i].is_matrix ? type : DType::kF32));
    std::vector<float> expected = values_of(before[i].view);
    std::vector<std::byte> rounded(after[i].view.bytes.size());
    weights::from_floats(after[i].view.dtype, expected, rounded);
    CHECK(std::ranges::equal(rounded, after[i].view.bytes));
  }
  CHECK(weights_hash(again) == result.weights_hash);
  CHECK(std::get<std::string>(*weights::find(converted.metadata(), "ttt.weights_hash")) ==
        result.weights_hash);
}

TEST_CASE("a quantised conversion tells what each matrix became and lost") {
  ModelConfig config = test::small_config();
  const DType type = GENERATE(DType::kQ8_0, DType::kQ4_0, DType::kQ4_K, DType::kQ6_K);
  const bool is_k = type == DType::kQ4_K || type == DType::kQ6_K;
  config.hidden_size = is_k ? 256 : 32;
  config.intermediate_size = 48;  // ffn_down has no whole blocks
  CheckpointFolder folder(config);
  const weights::Checkpoint source = folder.open();
  const Model model = load_model(source);
  ConvertOptions options;
  options.matrix_type = type;
  options.kept = {{"blk.1.ffn_up.weight", DType::kF32}};
  const ConvertResult result = convert(model, source.metadata(), nullptr, folder.path("out.gguf"), options);
  const weights::Checkpoint converted = weights::Checkpoint::open(folder.path("out.gguf"));
  const Model again = load_model(converted);
  CHECK(weights_hash(again) == result.weights_hash);
  const auto before = list_tensors(model);
  const auto after = list_tensors(again);
  REQUIRE(result.tensors.size() == after.size());
  for (std::size_t i = 0; i < after.size(); ++i) {
    const ConvertedTensor& tensor = result.tensors[i];
    CAPTURE(tensor.name);
    CHECK(tensor.name == after[i].view.name);
    CHECK(tensor.to == after[i].view.dtype);
    CHECK(tensor.bytes == after[i].view.bytes.size());
    double squares = 0.0, lost = 0.0;
    const std::vector<float> old_values = values_of(before[i].view), new_values = values_of(after[i].view);
    for (std::size_t k = 0; k < old_values.size(); ++k) {
      const double value = static_cast<double>(old_values[k]);
      squares += value * value;
      lost += (static_cast<double>(new_values[k]) - value) * (static_cast<double>(new_values[k]) - value);
    }
    CHECK(tensor.relative_error == Approx(lost == 0.0 ? 0.0 : std::sqrt(lost / squares)));
    const bool kept = !before[i].is_matrix || tensor.name == "blk.1.ffn_up.weight";
    const bool is_end = tensor.name == "token_embd.weight";
    CHECK(tensor.to == (kept                                       ? DType::kF32
                        : tensor.name.ends_with("ffn_down.weight") ? DType::kF16
                        : is_end && is_k                           ? DType::kQ6_K
                        : is_end                                   ? DType::kQ8_0
                                                                   : type));
  }
  CHECK(std::get<std::uint32_t>(*weights::find(converted.metadata(), "general.file_type")) ==
        (type == DType::kQ8_0   ? 7U
         : type == DType::kQ4_0 ? 2U
         : type == DType::kQ4_K ? 14U
                                : 18U));
}

TEST_CASE("weights that are not those of the hash that their file states are not converted") {
  const DType type = GENERATE(DType::kF32, DType::kBF16, DType::kQ8_0);
  ModelConfig config = test::small_config();
  config.hidden_size = 32;
  CheckpointFolder folder(config);
  {
    const weights::Checkpoint source = folder.open();
    convert(load_model(source), source.metadata(), nullptr, folder.path("first.gguf"), {.matrix_type = type});
  }
  const auto converted = [&](const std::string& name) {
    const weights::Checkpoint source = weights::Checkpoint::open(folder.path("first.gguf"));
    return convert(load_model(source), source.metadata(), nullptr, folder.path(name),
                   {.matrix_type = DType::kF32});
  };
  CHECK(converted("sound.gguf").completed);
  {
    std::fstream file(folder.path("first.gguf"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-64, std::ios::end);  // before the padding
    const auto flipped = static_cast<char>(file.peek() ^ 1);
    file.seekp(-64, std::ios::end);
    file.put(flipped);
  }
  CHECK_THROWS_WITH(converted("damaged.gguf"),
                    Contains("first.gguf: ttt.weights_hash: wanted ") && Contains("as the file states"));
  CHECK_FALSE(std::filesystem::exists(folder.path("damaged.gguf")));
}

TEST_CASE("weights that no scale can hold, and those that are not finite, are not quantised") {
  ModelConfig config = test::small_config();
  const DType type = GENERATE(DType::kQ8_0, DType::kQ4_K, DType::kQ6_K);
  config.hidden_size = type == DType::kQ8_0 ? 32 : 256;
  const float bad = GENERATE(1e9F, std::numeric_limits<float>::infinity(), std::nanf(""));
  CheckpointFolder folder(config);
  folder.tensors["model.layers.0.mlp.up_proj.weight"][7] = bad;
  const weights::Checkpoint source = folder.open();
  ConvertOptions options;
  options.matrix_type = type;
  CHECK_THROWS_WITH(convert(load_model(source), source.metadata(), nullptr, folder.path("a.gguf"), options),
                    Contains("blk.0.ffn_up.weight") && Contains(std::string(weights::dtype_info(type).name)));
  CHECK_FALSE(std::filesystem::exists(folder.path("a.gguf")));
}

TEST_CASE("a conversion that gives up leaves nothing behind") {
  CheckpointFolder folder(test::small_config());
  const weights::Checkpoint source = folder.open();
  const Model model = load_model(source);
  const std::string path = folder.path("out.gguf");
  int calls = 0;
  const auto give_up = [&](std::uint64_t written, std::uint64_t total) {
    CHECK(written <= total);
    return ++calls < 5;
  };
  CHECK_FALSE(
      convert(model, source.metadata(), nullptr, path, {.matrix_type = DType::kF32, .progress = give_up})
          .completed);
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(path).parent_path())) {
    CHECK((entry.path().filename() == "config.json" || entry.path().filename() == "model.safetensors"));
  }
}

TEST_CASE("a weight beyond the range of F16 is refused, BF16 takes it") {
  CheckpointFolder folder(test::small_config());
  folder.tensors["model.layers.0.mlp.up_proj.weight"][7] = 1e6F;
  const weights::Checkpoint source = folder.open();
  const Model model = load_model(source);
  CHECK_THROWS_WITH(convert(model, source.metadata(), nullptr, folder.path("a.gguf"),
                            {.matrix_type = DType::kF16, .progress = {}}),
                    Contains("blk.0.ffn_up.weight") && Contains("bf16"));
  CHECK_FALSE(std::filesystem::exists(folder.path("a.gguf")));
  CHECK(convert(model, source.metadata(), nullptr, folder.path("b.gguf"),
                {.matrix_type = DType::kBF16, .progress = {}})
            .completed);
}

TEST_CASE("a GGUF file that is converted again keeps what it says about its text") {
  CheckpointFolder folder(test::small_config());
  const weights::Checkpoint source = folder.open();
  weights::GgufMetadata metadata;
  const Model model = load_model(source);
  append_config(model.config, metadata);
  metadata.emplace_back("general.license", std::string("apache-2.0"));
  metadata.emplace_back("tokenizer.ggml.add_bos_token", false);
  metadata.emplace_back("tokenizer.chat_template", std::string("{{ messages }}"));
  std::vector<weights::GgufTensorInfo> infos;
  for (const NamedTensor& tensor : list_tensors(model))
    infos.push_back({tensor.view.name, DType::kF32, tensor.view.shape});
  weights::GgufWriter writer(folder.path("first.gguf"), metadata, infos);
  for (const NamedTensor& tensor : list_tensors(model)) writer.write(tensor.view.bytes);
  writer.commit();

  const weights::Checkpoint first = weights::Checkpoint::open(folder.path("first.gguf"));
  convert(load_model(first), first.metadata(), nullptr, folder.path("second.gguf"),
          {.matrix_type = DType::kBF16, .progress = {}});
  const weights::Checkpoint second = weights::Checkpoint::open(folder.path("second.gguf"));
  for (const char* key : {"general.license", "tokenizer.ggml.add_bos_token", "tokenizer.chat_template"}) {
    CAPTURE(key);
    REQUIRE(weights::find(second.metadata(), key) != nullptr);
    CHECK(*weights::find(second.metadata(), key) == *weights::find(first.metadata(), key));
  }
  CHECK_FALSE(text_settings(second).adds_bos);
}

TEST_CASE("the tokenizer travels inside the file and is loaded from it") {
  ModelConfig config = test::small_config();
  config.vocab_size = 4096;
  CheckpointFolder folder(config);
  folder.add_tokenizer(TTT_TEST_DATA "/tokenizer/demo.model");
  const weights::Checkpoint source = folder.open();
  const Model model = load_model(source);
  const auto tokenizer = load_tokenizer(source, config.vocab_size);
  REQUIRE(tokenizer.has_value());
  convert(model, source.metadata(), &*tokenizer, folder.path("out.gguf"), {});
  const weights::Checkpoint converted = weights::Checkpoint::open(folder.path("out.gguf"));
  load_model(converted);
  const auto again = load_tokenizer(converted, config.vocab_size);
  REQUIRE(again.has_value());
  CHECK(again->model_bytes() == tokenizer->model_bytes());
  CHECK(text_settings(converted).adds_bos);
}
