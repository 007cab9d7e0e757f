// SPDX-License-Identifier: Apache-2.0
// The CUDA backend in exact mode against the float64 oracle and the CPU backend, and what any step may do: in
// the emulator and on a GPU.
#include "cuda/cuda_backend.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "cpu/cpu_backend.h"
#include "engine/random_weights.h"
#include "engine/state_layout.h"
#include "engine/tensor_table.h"
#include "tests/cuda/device_config.h"
#include "tests/cuda/launches.h"
#include "tests/cuda/one_step.h"
#include "tests/cuda/step_launches.h"
#include "tests/error_metric.h"
#include "tests/oracle_errors.h"
#include "tests/random.h"
#include "tests/random_model.h"
#include "tests/same_bits.h"

namespace ttt {
namespace {

using test::on_device;
using test::read_all;
using test::saved;
using test::step;

constexpr double kExactTolerance = 5e-5;  // maximum over rms

void check_against_oracle(const ModelConfig& config, std::size_t num_tokens, const std::string& inner_kernel,
                          weights::DType dtype = weights::DType::kF32) {
  INFO(to_string(config.ttt_layer_type)
       << " f " << config.head_size() << " K " << config.mini_batch_size << " tokens " << num_tokens);
  const test::RandomModel model(config, 1, dtype);
  const auto backend = on_device(model.model, 1, num_tokens);
  const test::Launches launches;
  const test::OracleErrors errors =
      test::oracle_errors(model, test::Random(2).tokens(num_tokens, config.vocab_size), *backend);
  CHECK(errors.logits <= kExactTolerance);
  CHECK(errors.fast_weights <= kExactTolerance);
  CHECK(errors.conv_inputs <= kExactTolerance);
  CHECK(errors.open_rows <= kExactTolerance);
  CHECK(errors.losses <= kExactTolerance);
  launches.check({{inner_kernel, static_cast<int>(config.num_hidden_layers)}});
}

// Of all tensors in a file.
std::size_t tensor_bytes(const weights::Checkpoint& checkpoint) {
  std::size_t bytes = 0;
  for (const weights::TensorView& tensor : checkpoint.tensors()) bytes += tensor.bytes.size();
  return bytes;
}

// Slot 0 reads the tokens, wants all that can be had, and the next token is drawn; slot 1 reads one token.
void read_and_draw(Backend& backend, std::int64_t position, std::span<const TokenId> tokens,
                   const SamplingParams& params) {
  Segment prompt = read_all(0, position, tokens);
  prompt.wanted.log_probs = Rows::kAll;
  prompt.wanted.targets = tokens;
  prompt.wanted.targets_per_row = 1;
  prompt.wanted.top_n = 3;
  prompt.wanted.inner_losses = true;
  prompt.wanted.sample = &params;
  const Segment batch[] = {prompt, read_all(1, position, tokens.first(1))};
  backend.submit(batch);
  backend.wait();
}

// After a first step of the same kind: it may size what depends on what is asked.
void check_step_is_quiet(const Model& model, cuda::Precision precision) {
  INFO(to_string(model.config.ttt_layer_type) << " f " << model.config.head_size() << ", weights "
                                              << weights::dtype_info(model.layers[0].ffn_up.dtype).name);
  const auto backend = on_device(model, 4, 64, precision);
  const std::vector<TokenId> tokens = test::Random(10).tokens(20, model.config.vocab_size);
  SamplingParams largest, drawn_there, drawn_here;
  largest.temperature = 0.0F;
  drawn_there.temperature = drawn_here.temperature = 1.0F;
  drawn_here.typical_p = 0.5F;
  for (const SamplingParams& params : {largest, drawn_there, drawn_here}) {
    backend->reset(0);
    backend->reset(1);
    read_and_draw(*backend, 0, tokens, params);
    test::reset_runtime_calls();
    read_and_draw(*backend, 20, tokens, params);
    const test::RuntimeCalls counted = test::runtime_calls();
    CHECK(counted.allocations == 0);
    CHECK(counted.host_allocations == 0);
    CHECK(counted.synchronisations == 1);
  }
}

}  // namespace

TEST_CASE("exact kernels agree with the float64 oracle under every switch") {
  for (const LayerType type : {LayerType::kTttLinear, LayerType::kTttMlp}) {
    const std::string kernel = type == LayerType::kTttMlp ? "ttt_mlp_exact" : "ttt_linear_exact";
    for (unsigned switches = 0; switches < 8; ++switches) {
      ModelConfig config = test::device_config(type, 2, 6);
      config.num_hidden_layers = 2;
      config.mini_batch_size = switches % 2 == 0 ? 5 : 8;
      config.pre_conv = (switches & 1U) != 0;
      config.share_qk = (switches & 2U) != 0;
      config.use_gate = (switches & 4U) != 0;
      config.tie_word_embeddings = switches % 3 == 0;
      check_against_oracle(config, 19, kernel);
    }
  }
}

TEST_CASE("exact kernels agree with the float64 oracle at head sizes 64, 96 and 128") {
  for (const std::size_t f : {64U, 96U, 128U}) {
    check_against_oracle(test::device_config(LayerType::kTttLinear, 1, f), 35, "ttt_linear_exact");
    check_against_oracle(test::device_config(LayerType::kTttMlp, 1, f), 21, "ttt_mlp_exact");
  }
}

TEST_CASE(
    "exact kernels agree with the float64 oracle over mini-batches larger than a run, and over 600 tokens",
    "[slow]") {
  ModelConfig config = test::device_config(LayerType::kTttLinear, 1, 8);
  config.mini_batch_size = 40;
  check_against_oracle(config, 90, "ttt_linear_exact");
  config = test::device_config(LayerType::kTttMlp, 1, 8);
  config.mini_batch_size = 24;
  check_against_oracle(config, 60, "ttt_mlp_exact");
  check_against_oracle(test::device_config(LayerType::kTttLinear, 2, 16), 600, "ttt_linear_exact");
}

TEST_CASE("weights of 16 bits are read exactly by the device") {
  for (const weights::DType dtype : {weights::DType::kBF16, weights::DType::kF16}) {
    check_against_oracle(test::device_config(LayerType::kTttLinear, 2, 8), 19, "ttt_linear_exact", dtype);
  }
}

TEST_CASE(
    "quantised weights give on a device what their values give, in the memory that they take in a file") {
  ModelConfig config = test::device_config(LayerType::kTttLinear, 4, 64);
  config.intermediate_size = 256;
  const test::RandomModel original(config, 5);
  const std::vector<TokenId> tokens = test::Random(6).tokens(20, config.vocab_size);
  for (const weights::DType type :
       {weights::DType::kQ8_0, weights::DType::kQ4_0, weights::DType::kQ4_K, weights::DType::kQ6_K}) {
    INFO(weights::dtype_info(type).name);
    const test::ConvertedModel quantised(original.model, type);
    const test::ConvertedModel dequantised(quantised.model, weights::DType::kF32);
    REQUIRE(quantised.model.layers[0].ffn_down.dtype == type);
    const auto found = on_device(quantised.model), wanted = on_device(dequantised.model);
    const std::size_t saved_in_file =
        tensor_bytes(dequantised.checkpoint) - tensor_bytes(quantised.checkpoint);
    const std::size_t saved_on_device = wanted->info().weights_bytes - found->info().weights_bytes;
    CHECK(std::max(saved_in_file, saved_on_device) - std::min(saved_in_file, saved_on_device) <=
          256 * quantised.checkpoint.tensors().size());  // each begins at a multiple of 256
    found->reset(0);
    wanted->reset(0);
    CHECK(test::same_bits(step(*found, read_all(0, 0, tokens)), step(*wanted, read_all(0, 0, tokens))));
  }
}

TEST_CASE("a device is given the weights that the model fetches") {
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 6), 12);
  const std::vector<TokenId> tokens = test::Random(6).tokens(20, model.model.config.vocab_size);
  const auto logits = [&](const Model& of, cuda::Precision precision) {
    const auto backend = on_device(of, 4, 64, precision);
    backend->reset(0);
    return step(*backend, read_all(0, 0, tokens));
  };
  std::vector<std::byte> blank;  // what the views show instead
  for (const weights::TensorView& tensor : model.checkpoint.tensors()) {
    blank.resize(std::max(blank.size(), tensor.bytes.size()));
  }
  Model fetching = model.model;
  fetching.fetch = [&](const weights::TensorView& view, std::vector<std::byte>& buffer) {
    const weights::TensorView* source = model.checkpoint.find_tensor(view.name);
    buffer.assign(source->bytes.begin(), source->bytes.end());
    return std::span<const std::byte>(buffer);
  };
  const auto hide = [&](weights::TensorView& view) {
    view.bytes = std::span(blank).first(view.bytes.size());
  };
  for (weights::TensorView* view : {&fetching.token_embd, &fetching.output_norm, &fetching.output})
    hide(*view);
  for (LayerWeights& layer : fetching.layers) {
    for (const LayerTensor& tensor : layer_tensors()) hide(layer.*tensor.view);
  }
  for (const cuda::Precision precision : {cuda::Precision::kExact, cuda::Precision::kFast}) {
    CHECK(test::same_bits(logits(fetching, precision), logits(model.model, precision)));
  }
}

TEST_CASE("the CPU and the device agree, and continue each other's snapshots") {
  for (const LayerType type : {LayerType::kTttLinear, LayerType::kTttMlp}) {
    INFO(to_string(type));
    ModelConfig config = test::device_config(type, 2, 8);
    config.num_hidden_layers = 2;
    config.mini_batch_size = 8;
    const test::RandomModel model(config, 3);
    const std::vector<TokenId> tokens = test::Random(4).tokens(40, config.vocab_size);
    const auto device = on_device(model.model);
    const auto cpu = cpu::make_cpu_backend(
        model.model, {.num_slots = 4, .max_batch_tokens = 64, .max_logits_rows = 64, .num_threads = 1});
    cpu->reset(0);
    const std::vector<double> wanted = test::to_doubles(step(*cpu, read_all(0, 0, tokens)));
    const auto part = [&](std::size_t begin, std::size_t end) {
      return read_all(1, static_cast<std::int64_t>(begin), std::span(tokens).subspan(begin, end - begin));
    };
    // Here and there by turns, each time in the middle of a mini-batch.
    Backend* const turns[] = {device.get(), cpu.get(), device.get()};
    const std::size_t cuts[] = {0, 11, 29, 40};
    std::vector<double> found;
    const test::Launches launches;
    device->reset(1);
    for (std::size_t turn = 0; turn < 3; ++turn) {
      if (turn > 0) {
        const auto at = static_cast<std::int64_t>(cuts[turn]);
        turns[turn]->load(1, at, saved(*turns[turn - 1], config, 1, at));
      }
      const std::vector<float> logits = step(*turns[turn], part(cuts[turn], cuts[turn + 1]));
      found.insert(found.end(), logits.begin(), logits.end());
    }
    test::check_inner_kernel(launches, config, cuda::Precision::kExact);
    CHECK(test::max_over_rms(found, wanted) <= kExactTolerance);
  }
}

TEST_CASE("what freed slots hold reaches nobody") {
  ModelConfig config = test::device_config(LayerType::kTttMlp, 2, 6);
  config.mini_batch_size = 5;
  const test::RandomModel model(config, 7);
  const auto backend = on_device(model.model);
  const std::vector<TokenId> tokens = test::Random(8).tokens(12, config.vocab_size);
  backend->reset(0);
  const std::vector<float> alone = step(*backend, read_all(0, 0, tokens));
  const std::vector<float> poison(state_bytes(config, 4) / sizeof(float),
                                  std::numeric_limits<float>::quiet_NaN());
  for (const SlotId slot : {0, 1, 2, 3}) backend->load(slot, 4, std::as_bytes(std::span(poison)));
  backend->reset(2);
  const Segment batch[] = {read_all(1, 4, std::span(tokens).first(3)), read_all(2, 0, tokens),
                           read_all(3, 4, std::span(tokens).first(2))};
  backend->submit(batch);
  CHECK(test::same_bits(backend->wait()[1].logits, alone));
}

TEST_CASE("a step on a device allocates nothing and waits once") {
  const auto precision = GENERATE(cuda::Precision::kExact, cuda::Precision::kFast);
  for (const LayerType type : {LayerType::kTttLinear, LayerType::kTttMlp}) {
    for (const std::size_t f : {64U, 96U}) {
      const test::RandomModel model(test::device_config(type, 1, f), 9);
      check_step_is_quiet(model.model, precision);
      check_step_is_quiet(test::ConvertedModel(model.model, weights::DType::kQ8_0).model, precision);
    }
  }
}

TEST_CASE("submit() returns before the device has worked") {
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 6), 9);
  const auto backend = on_device(model.model);
  const std::vector<TokenId> tokens = test::Random(10).tokens(20, model.model.config.vocab_size);
  const Segment segment = read_all(0, 0, tokens);
  backend->reset(0);
  test::reset_runtime_calls();
  backend->submit({&segment, 1});
  CHECK(test::runtime_calls().synchronisations == 0);
  backend->wait();
  CHECK(test::runtime_calls().synchronisations == 1);
}

TEST_CASE("in fast mode fp32 weights take half the memory, states the same") {
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 1, 64), 11);
  const cuda::MemoryPlan exact = cuda::plan_memory(model.model, {.precision = cuda::Precision::kExact});
  const cuda::MemoryPlan fast = cuda::plan_memory(model.model, {.precision = cuda::Precision::kFast});
  const std::uint64_t values = 64 * (4 * 64 + 1 + 3 * 24 + 50);  // of the matrices
  CHECK(exact.weights - fast.weights >= 2 * values - 256 * 10);  // each place is rounded up to 256 bytes
  CHECK(exact.weights - fast.weights <= 2 * values + 256 * 10);
  CHECK(fast.states == exact.states);
  CHECK_THAT(on_device(model.model)->info().dispatch_target, Catch::EndsWith("-exact"));
  CHECK_THAT(on_device(model.model, 4, 64, cuda::Precision::kFast)->info().dispatch_target,
             Catch::EndsWith("-fast"));
}

TEST_CASE("memory is planned for a model whose bytes are not there yet as for one that has them") {
  const ModelConfig config = test::device_config(LayerType::kTttMlp, 2, 64);
  for (const weights::DType type : {weights::DType::kBF16, weights::DType::kQ8_0}) {
    for (const cuda::Precision precision : {cuda::Precision::kExact, cuda::Precision::kFast}) {
      const cuda::CudaOptions options{.num_slots = 3, .max_batch_tokens = 200, .precision = precision};
      const RandomWeights random(config, type, /*seed=*/1);
      const cuda::MemoryPlan wanted = cuda::plan_memory(random.model(), options);
      const cuda::MemoryPlan found = cuda::plan_memory(RandomWeights::without_bytes(config, type), options);
      CHECK(found.weights == wanted.weights);
      CHECK(found.states == wanted.states);
      CHECK(found.workspace == wanted.workspace);
    }
  }
}

TEST_CASE("heads that are too large for the kernels are refused before memory is taken") {
  Model model;
  model.config = test::device_config(LayerType::kTttMlp, 1, 2000);
  test::reset_runtime_calls();
  for (const cuda::Precision precision : {cuda::Precision::kExact, cuda::Precision::kFast}) {
    CHECK_THROWS_AS(cuda::make_cuda_backend(model, {.precision = precision}), cuda::DeviceError);
    CHECK_THROWS_WITH(cuda::check_memory(model, {.precision = precision}),
                      Catch::Contains("heads of 2000 elements") && Catch::Contains("--device cpu"));
  }
  CHECK(test::runtime_calls().allocations == 0);
}

}  // namespace ttt
