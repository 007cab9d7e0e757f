// SPDX-License-Identifier: Apache-2.0
// What imports compute is compared with the official implementation in tests/cpu/imported.cpp.
#include "engine/import.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "engine/convert.h"
#include "engine/random_weights.h"
#include "engine/tensor_pieces.h"
#include "engine/weights_hash.h"
#include "tests/engine/checkpoint_folder.h"
#include "tests/engine/memory_archive.h"
#include "weights/checkpoint_error.h"
#include "weights/jax_checkpoint.h"

using namespace ttt;
using Catch::Matchers::Contains;
using test::MemoryArchive;
using weights::DType;

namespace {

const std::string kImportFolder = TTT_TEST_DATA "/golden/import/";

weights::JaxCheckpoint open_jax(const std::string& name) {
  return weights::JaxCheckpoint::open(kImportFolder + name);
}
MemoryArchive small_jax() { return MemoryArchive(open_jax("jax-one-layer-3-steps/streaming_params")); }

ImportOptions with_json(const std::string& folder) {
  return {.config_json = test::file_contents(kImportFolder + folder + "/config.json"),
          .config_path = "config.json"};
}

// The folder's tensors under their Hugging Face names, read one at a time.
MemoryArchive archive_of(const weights::Checkpoint& checkpoint) {
  MemoryArchive archive;
  for (const weights::TensorView& tensor : checkpoint.tensors()) {
    archive.add({tensor.name, tensor.dtype, tensor.shape}, {tensor.bytes.begin(), tensor.bytes.end()});
  }
  return archive;
}

void check_same_weights(const Model& imported, const Model& wanted) {
  const auto after = list_tensors(imported);
  const auto before = list_tensors(wanted);
  REQUIRE(after.size() == before.size());
  std::vector<std::byte> buffer_1, buffer_2;
  for (std::size_t i = 0; i < before.size(); ++i) {
    CAPTURE(before[i].view.name);
    CHECK(after[i].view.name == before[i].view.name);
    CHECK(after[i].view.shape == before[i].view.shape);
    CHECK(after[i].view.dtype == before[i].view.dtype);
    CHECK(std::ranges::equal(with_bytes(imported, after[i].view, buffer_1).bytes,
                             with_bytes(wanted, before[i].view, buffer_2).bytes));
  }
}

bool warns_of(const Model& model, const std::string& word) {
  return std::ranges::any_of(model.warnings,
                             [&](const std::string& warning) { return Contains(word).match(warning); });
}

}  // namespace

TEST_CASE("an import under Hugging Face names has the weights and the shape of the folder it came from") {
  ModelConfig config = test::small_config(GENERATE(LayerType::kTttLinear, LayerType::kTttMlp));
  const int switches = GENERATE(0, 1, 2, 4, 7, 8);
  config.pre_conv = (switches & 1) != 0;
  config.share_qk = (switches & 2) != 0;
  config.use_gate = (switches & 4) != 0;
  config.tie_word_embeddings = (switches & 8) == 0;
  test::CheckpointFolder folder(config);
  const weights::Checkpoint checkpoint = folder.open();
  const Model wanted = load_model(checkpoint);
  MemoryArchive archive = archive_of(checkpoint);
  archive.add({"model.layers.0.seq_modeling_block.rotary_emb.inv_freq", DType::kF32, {1}},
              std::vector<std::byte>(4));
  const Model imported = import_model(archive, {});
  check_same_weights(imported, wanted);
  CHECK(imported.config.ttt_layer_type == config.ttt_layer_type);
  CHECK(imported.config.pre_conv == config.pre_conv);
  CHECK(imported.config.share_qk == config.share_qk);
  CHECK(imported.config.use_gate == config.use_gate);
  CHECK(imported.config.tie_word_embeddings == config.tie_word_embeddings);
  CHECK(imported.config.mini_batch_size == config.mini_batch_size);
  CHECK(weights_hash(imported) == weights_hash(wanted));
}

TEST_CASE("a head saved as a second name of the embedding is tied, another one is the model's own") {
  test::CheckpointFolder folder(test::small_config());
  const weights::Checkpoint checkpoint = folder.open();
  MemoryArchive archive = archive_of(checkpoint);
  archive.add({"lm_head.weight", DType::kF32, archive.tensor("model.embed_tokens.weight").shape},
              archive.bytes("model.embed_tokens.weight"));
  CHECK(import_model(archive, {}).config.tie_word_embeddings);
  archive.bytes("lm_head.weight")[5] ^= std::byte{1};
  CHECK_FALSE(import_model(archive, {}).config.tie_word_embeddings);
}

TEST_CASE("the tensors of a JAX checkpoint tell its configuration, config.json the rest") {
  const std::string name = GENERATE("jax-ttt-linear-12-layers-trainstate-bf16/streaming_train_state",
                                    "jax-ttt-mlp-trainstate-bf16/streaming_train_state",
                                    "jax-ttt-mlp-base-params-fp32-untied/streaming_params",
                                    "jax-one-layer-3-steps/streaming_params");
  CAPTURE(name);
  const std::string folder = name.substr(0, name.find('/'));
  const weights::JaxCheckpoint checkpoint = open_jax(name);
  const ImportOptions options = with_json(folder);
  const ModelConfig wanted = config_from_json(options.config_json, "config.json");
  const ModelConfig alone = import_model(checkpoint, {}).config;
  CHECK(alone.vocab_size == wanted.vocab_size);
  CHECK(alone.hidden_size == wanted.hidden_size);
  CHECK(alone.intermediate_size == wanted.intermediate_size);
  CHECK(alone.num_hidden_layers == wanted.num_hidden_layers);
  CHECK(alone.num_attention_heads == wanted.num_attention_heads);
  CHECK(alone.ttt_layer_type == wanted.ttt_layer_type);
  CHECK(alone.ttt_base_lr == wanted.ttt_base_lr);  // the guess is what these were trained with
  CHECK(alone.mini_batch_size == wanted.mini_batch_size);
  CHECK(alone.conv_kernel == wanted.conv_kernel);
  CHECK(alone.pre_conv == wanted.pre_conv);
  CHECK(alone.share_qk == wanted.share_qk);
  CHECK(alone.use_gate == wanted.use_gate);
  CHECK(alone.tie_word_embeddings == wanted.tie_word_embeddings);
  const Model with_config = import_model(checkpoint, options);
  CHECK(with_config.warnings.empty());
  CHECK(with_config.config.context_length == wanted.context_length);
  CHECK(with_config.config.eos_token_id == wanted.eos_token_id);
}

TEST_CASE("a train state and the bare parameters of the same training give the same model") {
  const weights::JaxCheckpoint state = open_jax("jax-one-layer-3-steps/streaming_train_state");
  const weights::JaxCheckpoint parameters = open_jax("jax-one-layer-3-steps/streaming_params");
  CHECK(state.is_train_state());
  CHECK_FALSE(parameters.is_train_state());
  const Model model = import_model(state, {});
  check_same_weights(model, import_model(parameters, {}));
  CHECK(weights_hash(model) == weights_hash(import_model(parameters, {})));
}

TEST_CASE("matrices and convolutions of JAX are turned round, the rest stays as it lies in the file") {
  const MemoryArchive archive = small_jax();
  const Model model = import_model(archive, {});
  std::vector<std::byte> buffer;
  const auto values = [&](const weights::TensorView& view, const std::string& name) {
    weights::TensorView named = view;
    named.name = name;
    const weights::TensorView whole = with_bytes(model, named, buffer);
    return std::vector<std::byte>(whole.bytes.begin(), whole.bytes.end());
  };
  MemoryArchive source = archive;
  const LayerWeights& layer = model.layers[0];
  const auto element = [](const std::vector<std::byte>& bytes, std::size_t i) {
    return std::pair(bytes.at(2 * i), bytes.at(2 * i + 1));  // BF16
  };
  const auto up = values(layer.ffn_up, "blk.0.ffn_up.weight");                       // [48, 32]
  const auto up_jax = source.bytes("model/h/0/feed_forward/w3/kernel");              // [32, 48]
  const auto conv = values(layer.conv_k_weight, "blk.0.ttt_conv_k.weight");          // [32, 4]
  const auto conv_jax = source.bytes("model/h/0/seq_modeling_block/conv_k/kernel");  // [4, 1, 32]
  CHECK(element(up, 5 * 32 + 3) == element(up_jax, 3 * 48 + 5));
  CHECK(element(up, 47 * 32 + 31) == element(up_jax, 31 * 48 + 47));
  CHECK(element(conv, 7 * 4 + 1) == element(conv_jax, 1 * 32 + 7));
  CHECK(values(layer.lr_weight, "blk.0.ttt_lr.weight") ==
        source.bytes("model/h/0/seq_modeling_block/learnable_ttt_lr/kernel"));
  CHECK(values(layer.inner_1_weight, "blk.0.ttt_inner_1.weight") ==
        source.bytes("model/h/0/seq_modeling_block/ttt_dense_0"));
}

TEST_CASE("an import is converted with its values unchanged, and what was converted hashes like it") {
  const weights::JaxCheckpoint checkpoint = open_jax("jax-ttt-mlp-trainstate-bf16/streaming_train_state");
  const Model model = import_model(checkpoint, with_json("jax-ttt-mlp-trainstate-bf16"));
  test::CheckpointFolder scratch(test::small_config());
  for (const auto& [type, file] : {std::pair{DType::kF32, "f32.gguf"}, {DType::kBF16, "bf16.gguf"}}) {
    const std::string path = scratch.path(file);
    const ConvertResult result = convert(model, {}, nullptr, path, {.matrix_type = type, .progress = {}});
    const weights::Checkpoint converted = weights::Checkpoint::open(path);
    const Model again = load_model(converted);
    CHECK(weights_hash(again) == result.weights_hash);
    if (type == DType::kBF16) CHECK(weights_hash(model) == result.weights_hash);
    std::vector<std::byte> fetched;
    const auto before = list_tensors(model);
    const auto after = list_tensors(again);
    REQUIRE(before.size() == after.size());
    for (std::size_t i = 0; i < before.size(); ++i) {
      CAPTURE(before[i].view.name);
      const weights::TensorView source = with_bytes(model, before[i].view, fetched);
      std::vector<float> wanted(*weights::num_elements(source.shape)), found(wanted.size());
      weights::to_floats(source.dtype, source.bytes, wanted);
      weights::to_floats(after[i].view.dtype, after[i].view.bytes, found);
      CHECK(found == wanted);
    }
  }
}

TEST_CASE("what no tensor tells comes from flag, file or preset; a guess is a warning") {
  const MemoryArchive archive = small_jax();
  const Model guessed = import_model(archive, {});
  CHECK(guessed.config.ttt_base_lr == 1.0F);
  CHECK(warns_of(guessed, "base learning rate: 1 is taken"));
  CHECK(warns_of(guessed, "rope_theta and rms_norm_eps: 10000 and"));
  const Model with_flag = import_model(archive, {.size = {}, .base_lr = 0.25F});
  CHECK(with_flag.config.ttt_base_lr == 0.25F);
  CHECK_FALSE(warns_of(with_flag, "base learning rate"));
  ImportOptions options = with_json("jax-one-layer-3-steps");
  CHECK(import_model(archive, options).warnings.empty());
  options.base_lr = 0.5F;
  CHECK(import_model(archive, options).config.ttt_base_lr == 0.5F);
  const weights::JaxCheckpoint mlp = open_jax("jax-ttt-mlp-trainstate-bf16/streaming_train_state");
  CHECK(warns_of(import_model(mlp, {}), "base learning rate: 0.1 is taken"));
  CHECK(warns_of(import_model(mlp, {.size = {}, .base_lr = 1.0F}), "ttt_base_lr is 1.0 for a TTT-MLP"));
}

TEST_CASE("a configuration file or a preset of another model is refused by field") {
  const MemoryArchive archive = small_jax();
  ImportOptions options = with_json("jax-ttt-mlp-trainstate-bf16");
  CHECK_THROWS_WITH(import_model(archive, options),
                    Contains("config.json: vocab_size: wanted 256, as the tensors have it, found 320"));
  CHECK_THROWS_WITH(import_model(archive, {.size = "125m"}),
                    Contains("hidden_size: wanted 768, which 125m has, found 32") && Contains("--preset"));
  CHECK_THROWS_WITH(import_model(archive, {.size = "125m-mlp"}), Contains("ttt_layer_type: wanted mlp"));
}

TEST_CASE("the self-attention baseline is refused for what it is") {
  MemoryArchive archive = small_jax();
  for (const char* name : {"ttt_dense_0", "ttt_bias_0", "learnable_token_idx", "ttt_norm/scale"}) {
    archive.remove(std::string("model/h/0/seq_modeling_block/") + name);
  }
  CHECK_THROWS_WITH(import_model(archive, {}), Contains("a Transformer with self-attention") &&
                                                   Contains("This program computes TTT layers only") &&
                                                   Contains("llama.cpp"));
}

TEST_CASE("a checkpoint that is incomplete, of another kind or of another type is refused by name") {
  const auto spoiled = [](auto spoil) {
    MemoryArchive archive = small_jax();
    spoil(archive);
    try {
      import_model(archive, {});
    } catch (const weights::CheckpointError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const std::string block = "model/h/0/seq_modeling_block/";
  CHECK_THAT(spoiled([](MemoryArchive& a) { a.remove("model/ln_f/kernel"); }),
             Contains("model/ln_f/kernel: wanted [32], found no such tensor"));
  CHECK_THAT(spoiled([](MemoryArchive& a) { a.remove("model/wte/embedding"); }),
             Contains("wanted model/wte/embedding or model.embed_tokens.weight"));
  CHECK_THAT(spoiled([](MemoryArchive& a) { a.remove("model/h/0/seq_norm/kernel"); }),
             Contains("seq_norm/kernel"));
  CHECK_THAT(spoiled([](MemoryArchive& a) {
               a.add({"model/h/2/x", DType::kF32, {1}}, {});
             }),
             Contains("model/h/2/x: wanted only tensors of a TTT model"));
  CHECK_THAT(spoiled([&](MemoryArchive& a) {
               a.tensor(block + "wv/kernel").shape = {16, 64};
             }),
             Contains("wv/kernel: wanted [32, 32], found [16, 64]"));
  CHECK_THAT(spoiled([&](MemoryArchive& a) { a.tensor(block + "ttt_norm/scale").shape = {32}; }),
             Contains("wanted 2 extents, found [32]"));
  CHECK_THAT(spoiled([&](MemoryArchive& a) {
               a.tensor(block + "ttt_norm/scale").shape = {4, 16};
             }),
             Contains("heads that make up the width of 32"));
  CHECK_THAT(spoiled([&](MemoryArchive& a) { a.tensor(block + "wv/kernel").dtype = DType::kI16; }),
             Contains("wv/kernel: wanted type F32, F16 or BF16, found I16"));
  CHECK_THAT(spoiled([&](MemoryArchive& a) { a.tensor(block + "learnable_token_idx").shape = {0}; }),
             Contains("ttt.mini_batch_size"));
}

TEST_CASE("official sizes are known by their shape") {
  for (const std::string& size : official_sizes()) CHECK(official_size_of(official_config(size)) == size);
  CHECK(official_size_of(test::small_config()).empty());
}
