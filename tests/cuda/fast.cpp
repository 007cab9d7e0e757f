// SPDX-License-Identifier: Apache-2.0
// Fast mode against the float64 oracle, the official implementation and the CPU backend. Which kernels ran is
// part of what is checked.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cuda/cuda_backend.h"
#include "engine/tokenizer_metadata.h"
#include "tests/cuda/device_config.h"
#include "tests/cuda/fast_errors.h"
#include "tests/cuda/installed_library.h"
#include "tests/cuda/launches.h"
#include "tests/cuda/one_step.h"
#include "tests/cuda/step_launches.h"
#include "tests/error_metric.h"
#include "tests/golden.h"
#include "tests/random.h"
#include "tests/random_model.h"
#include "tests/same_bits.h"
#include "tests/sanitized.h"
#include "tests/saved_state.h"

namespace ttt {
namespace {

using test::kDemoDivergence;
using test::kRandomDivergence;

std::unique_ptr<Backend> fast_backend(const Model& model, std::size_t slots = 4, std::size_t tokens = 64) {
  return cuda::make_cuda_backend(model,
                                 {.num_slots = slots, .max_batch_tokens = tokens, .max_logits_rows = tokens});
}

std::unique_ptr<Backend> cpu_backend(const Model& model, std::size_t tokens) {
  return cpu::make_cpu_backend(
      model, {.num_slots = 4, .max_batch_tokens = tokens, .max_logits_rows = tokens, .num_threads = 1});
}

std::vector<float> logits_of(Backend& backend, SlotId slot, std::int64_t position,
                             std::span<const TokenId> tokens) {
  return test::step(backend, test::read_all(slot, position, tokens));
}

// 35 tokens: two commits and three open rows.
void check_against_oracle(const ModelConfig& config, weights::DType dtype) {
  constexpr std::size_t kTokens = 35;
  INFO(to_string(config.ttt_layer_type)
       << " f " << config.head_size() << " type " << static_cast<int>(dtype));
  const test::RandomModel model(config, 1, dtype);
  const auto backend = fast_backend(model.model, 1);
  const std::vector<TokenId> tokens = test::Random(2).tokens(kTokens, config.vocab_size);
  const SegmentResult result = test::read_prompt(*backend, config, tokens);
  test::fast_errors(model, tokens, result, *backend).check();
}

double golden_divergence(const std::string& name, bool library = false) {
  INFO(name);
  const test::GoldenCase golden(name);
  const Model model = load_model(golden.checkpoint);
  const auto backend = fast_backend(model, 1, golden.input_ids.size());
  backend->reset(0);
  const test::Launches launches;
  const std::vector<float> logits = logits_of(*backend, 0, 0, golden.input_ids);
  const std::string inner = std::string(model.config.is_mlp() ? "ttt_mlp_" : "ttt_linear_") +
                            (name.ends_with("headdim64") ? "prefill" : "exact");
  launches.check({{inner, static_cast<int>(model.config.num_hidden_layers)}, {"product_exact", 0}});
  if (library) launches.check({{"product_mma", 0}});
  return test::mean_divergence(test::to_doubles(logits), golden.values("logits"), model.config.vocab_size);
}

constexpr std::array kDemoModels = {"/demo-linear.gguf", "/demo-mlp.gguf"};
const std::string kDemoText =
    "My father's family name being Pirrip, and my Christian name Philip, my infant tongue could make of both "
    "names nothing longer or more explicit than Pip. So, I called myself Pip, and came to be called Pip. I "
    "give Pirrip as my father's family name, on the authority of his tombstone and my sister, Mrs. Joe "
    "Gargery, who married the blacksmith. As I never saw my father or my mother, and never saw any likeness "
    "of either of them, my first fancies regarding what they were like were unreasonably derived from their "
    "tombstones. The shape of the letters on my father's, gave me an odd idea that he was a square, stout, "
    "dark man, with curly black hair. From the character and turn of the inscription, \"Also Georgiana Wife "
    "of the Above,\" I drew a childish conclusion that my mother was freckled and sickly.";

// Of the first tokens of the text, at most so many.
double demo_divergence(const std::string& name, std::size_t num_tokens, bool library = false) {
  INFO(name);
  const weights::Checkpoint checkpoint = weights::Checkpoint::open(TTT_MODELS + name);
  const Model model = load_model(checkpoint);
  std::vector<TokenId> tokens = load_tokenizer(checkpoint, model.config.vocab_size)
                                    ->encode(kDemoText, tokenizer::SpecialTokens::kPlain);
  tokens.resize(std::min(tokens.size(), num_tokens));
  const auto device = fast_backend(model, 1, tokens.size());
  const auto cpu = cpu_backend(model, tokens.size());
  device->reset(0);
  cpu->reset(0);
  const test::Launches launches;
  const std::vector<double> found = test::to_doubles(logits_of(*device, 0, 0, tokens));
  launches.check(test::prompt_launches(model.config, cuda::Precision::kFast, tokens.size(), library));
  const std::vector<double> wanted = test::to_doubles(logits_of(*cpu, 0, 0, tokens));
  return test::mean_divergence(found, wanted, model.config.vocab_size);
}

}  // namespace

TEST_CASE("fast mode agrees with the float64 oracle at the head sizes of its kernels") {
  for (const std::size_t f : {64U, 96U, 128U}) {
    check_against_oracle(test::device_config(LayerType::kTttLinear, 1, f), weights::DType::kF32);
    check_against_oracle(test::device_config(LayerType::kTttMlp, 1, f), weights::DType::kF32);
  }
  check_against_oracle(test::device_config(LayerType::kTttLinear, 2, 64), weights::DType::kF16);
  check_against_oracle(test::device_config(LayerType::kTttMlp, 2, 64), weights::DType::kBF16);
}

TEST_CASE("fast mode computes the inner loop exactly where it has no kernel for its size") {
  struct Size {
    LayerType type;
    std::size_t head_size, mini_batch_size;
  };
  for (const Size& size : {Size{LayerType::kTttLinear, 64, 8}, Size{LayerType::kTttLinear, 40, 16},
                           Size{LayerType::kTttMlp, 64, 8}, Size{LayerType::kTttMlp, 40, 16}}) {
    ModelConfig config = test::device_config(size.type, 1, size.head_size);
    config.mini_batch_size = size.mini_batch_size;
    INFO(to_string(size.type) << " f " << size.head_size << " K " << size.mini_batch_size);
    const test::RandomModel model(config, 3);
    const std::vector<TokenId> tokens = test::Random(4).tokens(19, config.vocab_size);
    const auto backend = fast_backend(model.model);
    backend->reset(0);
    const test::Launches launches;
    const std::vector<double> found = test::to_doubles(logits_of(*backend, 0, 0, tokens));
    launches.check({{config.is_mlp() ? "ttt_mlp_exact" : "ttt_linear_exact", 1},
                    {"ttt_linear_prefill", 0},
                    {"ttt_mlp_prefill", 0},
                    {"ttt_mlp_streamed", 0},
                    {"product_few", 5},
                    {"product_mma", 0},
                    {"product_exact", 0}});
    naive::NaiveModel oracle(config, model.tensors);
    CHECK(test::mean_divergence(found, oracle.read_all(tokens), config.vocab_size) <= kRandomDivergence);
  }
}

TEST_CASE("fast mode multiplies rows exactly that tensor cores cannot read") {
  ModelConfig config = test::device_config(LayerType::kTttLinear, 2, 10);  // 20 elements a row, 24 in the MLP
  const test::RandomModel model(config, 5);
  const auto backend = fast_backend(model.model);
  const std::vector<TokenId> tokens = test::Random(6).tokens(5, config.vocab_size);
  backend->reset(0);
  const test::Launches launches;
  const std::vector<double> found = test::to_doubles(logits_of(*backend, 0, 0, tokens));
  launches.check({{"product_exact", 8}, {"product_few", 1}});
  naive::NaiveModel oracle(config, model.tensors);
  CHECK(test::mean_divergence(found, oracle.read_all(tokens), config.vocab_size) <= kRandomDivergence);
}

TEST_CASE("matrices whose values fp16 cannot hold, or loses, are rounded to bf16") {
  const ModelConfig config = test::device_config(LayerType::kTttLinear, 1, 64);
  const auto divergence = [&](double factor) {
    // The projection up times `factor`, and down as much smaller: the same function.
    const auto edit = [factor](naive::Tensors& tensors) {
      for (double& value : tensors.at("model.layers.0.mlp.up_proj.weight")) value *= factor;
      for (double& value : tensors.at("model.layers.0.mlp.down_proj.weight")) value /= factor;
    };
    const test::RandomModel model(config, 7, weights::DType::kF32, edit);
    const auto backend = fast_backend(model.model);
    const std::vector<TokenId> tokens = test::Random(8).tokens(5, config.vocab_size);
    backend->reset(0);
    const test::Launches launches;
    const std::vector<double> found = test::to_doubles(logits_of(*backend, 0, 0, tokens));
    launches.check({{"product_few", 5}, {"product_exact", 0}, {"ttt_linear_prefill", 1}});
    naive::NaiveModel oracle(config, model.tensors);
    return test::mean_divergence(found, oracle.read_all(tokens), config.vocab_size);
  };
  CHECK(divergence(1.0) <= kRandomDivergence);
  CHECK(divergence(0x1p20) <= kRandomDivergence);
}

TEST_CASE("fast mode and the CPU continue each other's snapshots") {
  struct Size {
    LayerType type;
    std::size_t head_size;
  };
  for (const Size& size :
       {Size{LayerType::kTttLinear, 64}, Size{LayerType::kTttMlp, 64}, Size{LayerType::kTttMlp, 96}}) {
    INFO(to_string(size.type) << " f " << size.head_size);
    const ModelConfig config = test::device_config(size.type, 1, size.head_size);
    const test::RandomModel model(config, 9);
    const std::vector<TokenId> tokens = test::Random(10).tokens(50, config.vocab_size);
    const auto device = fast_backend(model.model);
    const auto cpu = cpu_backend(model.model, 64);
    cpu->reset(0);
    const std::vector<double> wanted = test::to_doubles(logits_of(*cpu, 0, 0, tokens));
    // Here and there by turns, each time in the middle of a mini-batch.
    Backend* const turns[] = {cpu.get(), device.get(), cpu.get(), device.get()};
    const std::size_t cuts[] = {0, 11, 29, 37, 50};
    std::vector<double> found;
    const test::Launches launches;
    cpu->reset(1);
    for (std::size_t turn = 0; turn < 4; ++turn) {
      const auto at = static_cast<std::int64_t>(cuts[turn]);
      if (turn > 0) turns[turn]->load(1, at, test::SavedState(*turns[turn - 1], config, 1, at).bytes());
      const auto part = std::span(tokens).subspan(cuts[turn], cuts[turn + 1] - cuts[turn]);
      const std::vector<float> logits = logits_of(*turns[turn], 1, at, part);
      found.insert(found.end(), logits.begin(), logits.end());
    }
    test::check_inner_kernel(launches, config, cuda::Precision::kFast);
    CHECK(test::mean_divergence(found, wanted, config.vocab_size) <= kRandomDivergence);
  }
}

TEST_CASE("fast mode reads token by token with the bits of a prompt where fast weights are streamed") {
  // The kernel makes the operands of single tokens itself. Two mini-batches and an open one.
  const ModelConfig config = test::device_config(LayerType::kTttMlp, 1, GENERATE(96U, 128U));
  INFO("head size " << config.head_size());
  const test::RandomModel model(config, 11);
  const std::vector<TokenId> tokens = test::Random(12).tokens(35, config.vocab_size);
  const auto backend = fast_backend(model.model);
  backend->reset(0);
  const std::vector<float> wanted = logits_of(*backend, 0, 0, tokens);
  backend->reset(1);
  std::vector<float> found;
  const test::Launches launches;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::vector<float> logits =
        logits_of(*backend, 1, static_cast<std::int64_t>(i), std::span(tokens).subspan(i, 1));
    found.insert(found.end(), logits.begin(), logits.end());
  }
  launches.check({{"ttt_mlp_streamed", static_cast<int>(tokens.size())}, {"rope_operands", 0}});
  CHECK(test::same_bits(found, wanted));
  const auto end = static_cast<std::int64_t>(tokens.size());
  CHECK(test::same_bits(test::SavedState(*backend, config, 1, end).bytes(),
                        test::SavedState(*backend, config, 0, end).bytes()));
}

TEST_CASE("in fast mode logits agree with the official implementation's", "[slow]") {
  for (const std::string name : test::kGoldenCases) {
    INFO(name);
    CHECK(golden_divergence(name) <= kRandomDivergence);
  }
}

TEST_CASE("in fast mode the demo models give the CPU's probabilities", "[slow]") {
  for (const std::string name : kDemoModels) {
    INFO(name);
    CHECK(demo_divergence(name, 36) <= kDemoDivergence);
  }
}

TEST_CASE("products by the library keep fast mode as near", "[slow]") {
  const test::InstalledLibrary installed;
  if (!installed.is_there()) return;
  for (const std::string name : test::kGoldenCases) {
    INFO(name);
    CHECK(golden_divergence(name, true) <= kRandomDivergence);
  }
  for (const std::string name : kDemoModels) {
    INFO(name);
    CHECK(demo_divergence(name, 36, true) <= kDemoDivergence);
  }
}

// By the own kernels and, where there is one, with the library's products.
TEST_CASE("fast error figures", "[.report]") {
  struct Figure {
    std::string name;
    double divergence, allowed;
  };
  const auto measure = [](bool library) {
    std::vector<Figure> figures;
    for (const std::string name : test::kGoldenCases)
      figures.push_back({name, golden_divergence(name, library), kRandomDivergence});
    for (const std::string name : kDemoModels)
      figures.push_back({name, demo_divergence(name, 512, library), kDemoDivergence});
    return figures;
  };
  const auto report = [](const char* products, const std::vector<Figure>& figures) {
    for (const auto& [name, divergence, allowed] : figures) {
      fmt::print("| {} | {} | {:.1e} |\n", products, name, divergence);
      INFO(products << " " << name);
      CHECK(divergence <= allowed);
    }
  };
  report("own kernels", measure(false));
  const test::InstalledLibrary installed;
  if (installed.is_there()) report("cuBLASLt", measure(true));
}

}  // namespace ttt
