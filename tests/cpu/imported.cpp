// SPDX-License-Identifier: Apache-2.0
// Checkpoints that the official JAX code wrote, imported and converted, against the logits of that code.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "cpu/cpu_backend.h"
#include "engine/convert.h"
#include "engine/import.h"
#include "tests/error_metric.h"
#include "tests/golden.h"
#include "weights/jax_checkpoint.h"

namespace ttt {
namespace {

constexpr double kTolerance = 2e-5;  // max over rms: the official logits are of float32 themselves

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

double logits_error(const Model& model, const std::vector<tokenizer::TokenId>& ids,
                    const std::vector<double>& wanted) {
  const auto backend = cpu::make_cpu_backend(
      model,
      {.num_slots = 1, .max_batch_tokens = ids.size(), .max_logits_rows = ids.size(), .num_threads = 1});
  backend->reset(0);
  Segment segment;
  segment.tokens = ids;
  segment.wanted.logits = Rows::kAll;
  backend->submit({&segment, 1});
  return test::max_over_rms(test::to_doubles(backend->wait()[0].logits), wanted);
}

}  // namespace

TEST_CASE("imported JAX checkpoints compute what the official JAX code computes") {
  const auto [name, file] = GENERATE(table<std::string, std::string>(
      {{"jax-ttt-linear-12-layers-trainstate-bf16", "streaming_train_state"},  // layers in string order
       {"jax-ttt-mlp-trainstate-bf16", "streaming_train_state"},
       {"jax-ttt-mlp-base-params-fp32-untied", "streaming_params"}}));
  CAPTURE(name);
  const std::string folder = TTT_TEST_DATA "/golden/import/" + name;
  const weights::JaxCheckpoint checkpoint = weights::JaxCheckpoint::open(folder + "/" + file);
  const Model imported = import_model(checkpoint, {.size = {},
                                                   .base_lr = {},
                                                   .config_json = text_of(folder + "/config.json"),
                                                   .config_path = folder + "/config.json"});
  const std::string path =
      (std::filesystem::temp_directory_path() / ("ttt-imported-" + std::to_string(::getpid()))).string();
  REQUIRE(convert(imported, {}, nullptr, path, {}).completed);
  const weights::Checkpoint converted = weights::Checkpoint::open(path);
  std::filesystem::remove(path);  // it stays open

  const auto golden =
      weights::SafetensorsFile::open(folder + "/golden.safetensors", weights::FileAccess::kMap);
  std::vector<tokenizer::TokenId> ids;
  for (const double id : test::read_doubles(*golden.find_tensor("token_ids"))) {
    ids.push_back(static_cast<tokenizer::TokenId>(id));
  }
  const std::vector<double> logits = test::read_doubles(*golden.find_tensor("logits"));
  CHECK(logits_error(load_model(converted), ids, logits) <= kTolerance);
}

}  // namespace ttt
