// SPDX-License-Identifier: Apache-2.0
// The CUDA backend in the block emulator: against the float64 oracle and the CPU backend; what a step may do;
// what happens where the device fails.
#include "cuda/cuda_backend.h"

#include <emulated_device.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cpu/cpu_backend.h"
#include "engine/engine.h"
#include "engine/state_layout.h"
#include "engine/tensor_table.h"
#include "tests/cuda/device_config.h"
#include "tests/cuda/installed_library.h"
#include "tests/error_metric.h"
#include "tests/oracle_errors.h"
#include "tests/random.h"
#include "tests/random_model.h"

namespace ttt {
namespace {

using Bytes = std::vector<std::byte>;

constexpr double kExactTolerance = 5e-5;  // maximum over rms

// While it lives, the machine has these devices; afterwards the one that it starts with, and no fault is
// planted.
class EmulatedMachine {
 public:
  explicit EmulatedMachine(const emulator::DeviceDescription& device = {}) {
    emulator::set_devices({device});
  }
  EmulatedMachine(const emulator::DeviceDescription& first, const emulator::DeviceDescription& second) {
    emulator::set_devices({first, second});
  }
  ~EmulatedMachine() {
    emulator::keep_first_device(false);
    emulator::reset_errors();
    emulator::set_devices({{}});
    emulator::set_driver({});
  }
  EmulatedMachine(const EmulatedMachine&) = delete;
  EmulatedMachine& operator=(const EmulatedMachine&) = delete;
};

std::unique_ptr<Backend> on_device(const Model& model, std::size_t slots = 4, std::size_t tokens = 64,
                                   cuda::Precision precision = cuda::Precision::kExact) {
  return cuda::make_cuda_backend(
      model,
      {.num_slots = slots, .max_batch_tokens = tokens, .max_logits_rows = tokens, .precision = precision});
}

Segment read_all(SlotId slot, std::int64_t position, std::span<const TokenId> tokens) {
  Segment segment;
  segment.slot = slot;
  segment.position = position;
  segment.tokens = tokens;
  segment.wanted.logits = Rows::kAll;
  return segment;
}

std::vector<float> step(Backend& backend, const Segment& segment) {
  backend.submit({&segment, 1});
  const std::span<const float> logits = backend.wait()[0].logits;
  return {logits.begin(), logits.end()};
}

Bytes saved(const Backend& backend, const ModelConfig& config, SlotId slot, std::int64_t position) {
  Bytes bytes(state_bytes(config, position));
  backend.save(slot, position, bytes);
  return bytes;
}

void check_against_oracle(const ModelConfig& config, std::size_t num_tokens, const std::string& inner_kernel,
                          weights::DType dtype = weights::DType::kF32) {
  INFO(to_string(config.ttt_layer_type)
       << " f " << config.head_size() << " K " << config.mini_batch_size << " tokens " << num_tokens);
  const test::RandomModel model(config, 1, dtype);
  const auto backend = on_device(model.model, 1, num_tokens);
  emulator::reset_counters();
  const test::OracleErrors errors =
      test::oracle_errors(model, test::Random(2).tokens(num_tokens, config.vocab_size), *backend);
  CHECK(errors.logits <= kExactTolerance);
  CHECK(errors.fast_weights <= kExactTolerance);
  CHECK(errors.conv_inputs <= kExactTolerance);
  CHECK(errors.open_rows <= kExactTolerance);
  CHECK(errors.losses <= kExactTolerance);
  CHECK(emulator::counters().launches[inner_kernel] == static_cast<int>(config.num_hidden_layers));
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

// Of all tensors in a file.
std::size_t tensor_bytes(const weights::Checkpoint& checkpoint) {
  std::size_t bytes = 0;
  for (const weights::TensorView& tensor : checkpoint.tensors()) bytes += tensor.bytes.size();
  return bytes;
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
    CHECK(step(*found, read_all(0, 0, tokens)) == step(*wanted, read_all(0, 0, tokens)));
  }
}

TEST_CASE("a device is given the weights that the model fetches") {
  const EmulatedMachine machine;
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
    CHECK(logits(fetching, precision) == logits(model.model, precision));
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
    device->reset(1);
    for (std::size_t turn = 0; turn < 3; ++turn) {
      if (turn > 0) {
        const auto at = static_cast<std::int64_t>(cuts[turn]);
        turns[turn]->load(1, at, saved(*turns[turn - 1], config, 1, at));
      }
      const std::vector<float> logits = step(*turns[turn], part(cuts[turn], cuts[turn + 1]));
      found.insert(found.end(), logits.begin(), logits.end());
    }
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
  const std::span<const float> found = backend->wait()[1].logits;
  CHECK(std::vector<float>(found.begin(), found.end()) == alone);
}

TEST_CASE("a step on a device allocates nothing and waits once") {
  const auto precision = GENERATE(cuda::Precision::kExact, cuda::Precision::kFast);
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 1, 64), 9);
  const auto backend = on_device(model.model, 4, 64, precision);
  const std::vector<TokenId> tokens = test::Random(10).tokens(20, model.model.config.vocab_size);
  SamplingParams params;
  const auto run = [&](std::int64_t position) {
    Segment prompt = read_all(0, position, tokens);
    prompt.wanted.log_probs = Rows::kAll;
    prompt.wanted.targets = tokens;
    prompt.wanted.targets_per_row = 1;
    prompt.wanted.top_n = 3;
    prompt.wanted.inner_losses = true;
    prompt.wanted.sample = &params;
    const Segment batch[] = {prompt, read_all(1, position, std::span(tokens).first(1))};
    backend->submit(batch);
    backend->wait();
  };
  for (const float temperature : {0.0F, 1.0F}) {  // the largest; drawn by the device
    params.temperature = temperature;
    backend->reset(0);
    backend->reset(1);
    run(0);
    emulator::reset_counters();
    run(20);
    const emulator::Counters counted = emulator::counters();
    CHECK(counted.allocations == 0);
    CHECK(counted.host_allocations == 0);
    CHECK(counted.synchronisations == 1);
  }
}

TEST_CASE("submit() returns before the device has worked") {
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 6), 9);
  const auto backend = on_device(model.model);
  const std::vector<TokenId> tokens = test::Random(10).tokens(20, model.model.config.vocab_size);
  const Segment segment = read_all(0, 0, tokens);
  backend->reset(0);
  emulator::reset_counters();
  backend->submit({&segment, 1});
  CHECK(emulator::counters().synchronisations == 0);
  backend->wait();
  CHECK(emulator::counters().synchronisations == 1);
}

TEST_CASE("memory is what was planned, and a model that does not fit is refused with the sum") {
  const test::RandomModel model(test::device_config(LayerType::kTttMlp, 2, 8), 11);
  const auto precision = GENERATE(cuda::Precision::kExact, cuda::Precision::kFast);
  cuda::CudaOptions options{.num_slots = 3, .max_batch_tokens = 16, .precision = precision};
  const cuda::MemoryPlan plan = cuda::plan_memory(model.model, options);
  {
    const std::size_t before = emulator::allocated_bytes();
    const auto backend = cuda::make_cuda_backend(model.model, options);
    CHECK(emulator::allocated_bytes() - before == plan.total());
    CHECK(plan.states >= 3 * backend->info().slot_bytes);
  }
  const EmulatedMachine machine({.memory_bytes = plan.total()});
  CHECK_NOTHROW(cuda::make_cuda_backend(model.model, options));
  options.num_slots = 100;
  CHECK_THROWS_AS(cuda::make_cuda_backend(model.model, options), cuda::DeviceMemoryError);
  CHECK_THROWS_WITH(cuda::make_cuda_backend(model.model, options),
                    Catch::Contains("are needed") && Catch::Contains("free of") &&
                        Catch::Contains("3 sequences would fit"));
}

TEST_CASE("in fast mode fp32 weights take half the memory, states the same") {
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 1, 64), 11);
  const cuda::MemoryPlan exact = cuda::plan_memory(model.model, {.precision = cuda::Precision::kExact});
  const cuda::MemoryPlan fast = cuda::plan_memory(model.model, {.precision = cuda::Precision::kFast});
  const std::uint64_t values = 64 * (4 * 64 + 1 + 3 * 24 + 50);  // of the matrices
  CHECK(exact.weights - fast.weights >= 2 * values - 256 * 10);  // each place is rounded up to 256 bytes
  CHECK(exact.weights - fast.weights <= 2 * values + 256 * 10);
  CHECK(fast.states == exact.states);
  CHECK(on_device(model.model)->info().dispatch_target == "sm_90-exact");
  CHECK(on_device(model.model, 4, 64, cuda::Precision::kFast)->info().dispatch_target == "sm_90-fast");
}

TEST_CASE("heads that are too large for the kernels are refused before memory is taken") {
  Model model;
  model.config = test::device_config(LayerType::kTttMlp, 1, 2000);
  emulator::reset_counters();
  for (const cuda::Precision precision : {cuda::Precision::kExact, cuda::Precision::kFast}) {
    CHECK_THROWS_AS(cuda::make_cuda_backend(model, {.precision = precision}), cuda::DeviceError);
    CHECK_THROWS_WITH(cuda::check_memory(model, {.precision = precision}),
                      Catch::Contains("heads of 2000 elements") && Catch::Contains("--device cpu"));
  }
  CHECK(emulator::counters().allocations == 0);
}

TEST_CASE("an allocation that fails leaves nothing allocated") {
  const EmulatedMachine machine;
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 6), 12);
  emulator::fail_allocation(1);  // the stream
  CHECK_THROWS_WITH(on_device(model.model),
                    Catch::Contains("are needed (weights ") && Catch::Contains("states of 4 sequences") &&
                        Catch::Contains("and more for CUDA itself, which was not there (CUDA: creation of a "
                                        "stream: out of memory (cudaErrorMemoryAllocation)): run fewer"));
  for (const int n : {1, 2}) {
    emulator::fail_allocation(n);
    CHECK_THROWS_AS(on_device(model.model), cuda::DeviceMemoryError);
    CHECK(emulator::allocated_bytes() == 0);
  }
  for (int n = 3; n < 9; ++n) {
    emulator::fail_allocation(n);
    CHECK_THROWS_AS(on_device(model.model), std::bad_alloc);
    CHECK(emulator::allocated_bytes() == 0);
  }
  emulator::reset_errors();
  CHECK_NOTHROW(on_device(model.model));
}

TEST_CASE("where room for log-probabilities cannot be had, the step is refused and no slot changes") {
  const EmulatedMachine machine;
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 6), 13);
  const ModelConfig& config = model.model.config;
  const auto backend = on_device(model.model);
  const std::vector<TokenId> tokens = test::Random(14).tokens(9, config.vocab_size);
  backend->reset(0);
  const Bytes before = saved(*backend, config, 0, 0);
  Segment segment = read_all(0, 0, tokens);
  segment.wanted.log_probs = Rows::kAll;
  segment.wanted.top_n = 2;
  emulator::fail_allocation(1);
  CHECK_THROWS_AS(backend->submit({&segment, 1}), std::bad_alloc);
  CHECK(saved(*backend, config, 0, 0) == before);
  CHECK_NOTHROW(step(*backend, segment));
}

TEST_CASE("a launch that is refused fails its step alone") {
  const EmulatedMachine machine;
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 6), 15);
  const ModelConfig& config = model.model.config;
  const auto backend = on_device(model.model);
  const std::vector<TokenId> tokens = test::Random(16).tokens(9, config.vocab_size);
  backend->reset(0);
  backend->reset(1);
  const std::vector<float> wanted = step(*backend, read_all(1, 0, tokens));
  const Bytes stranger = saved(*backend, config, 1, 9);
  for (const int n : {1, 5, 12}) {
    emulator::fail_launch(n);
    const Segment segment = read_all(0, 0, tokens);
    CHECK_THROWS_WITH(backend->submit({&segment, 1}), Catch::Contains("launch of a kernel"));
    CHECK_THROWS_AS(backend->wait(), std::logic_error);
    CHECK(saved(*backend, config, 1, 9) == stranger);
  }
  backend->reset(0);
  CHECK(step(*backend, read_all(0, 0, tokens)) == wanted);
}

TEST_CASE("a kernel that fails ends its step, and the backend says that it cannot be used again") {
  const EmulatedMachine machine;
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 6), 17);
  const auto backend = on_device(model.model);
  const std::vector<TokenId> tokens = test::Random(18).tokens(9, model.model.config.vocab_size);
  backend->reset(0);
  backend->reset(1);
  const Segment segment = read_all(0, 0, tokens);
  emulator::fail_kernel(3);
  CHECK_THROWS_WITH(step(*backend, segment), Catch::Contains("cudaErrorLaunchFailure"));
  CHECK_THROWS_WITH(step(*backend, read_all(1, 0, tokens)), Catch::Contains("restart"));
  CHECK_THROWS_AS(step(*backend, segment), DeviceLost);
  CHECK_THROWS_AS(backend->reset(1), DeviceLost);
  CHECK_THROWS_AS(backend->copy(0, 1, 0), DeviceLost);
  CHECK_THROWS_AS(saved(*backend, model.model.config, 1, 0), DeviceLost);
  CHECK_THROWS_AS(backend->wait(), std::logic_error);  // nothing is in flight
}

TEST_CASE("an engine whose device fails in a step ends what runs and what waits, and takes nothing more") {
  const EmulatedMachine machine;
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 6), 17);
  const auto backend = on_device(model.model);
  Engine engine(*backend, model.model.config, nullptr);
  GenerationRequest request;
  request.prompt = test::Random(18).tokens(9, model.model.config.vocab_size);
  request.max_tokens = 1'000'000;
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (std::size_t i = 0; i < backend->info().num_slots + 2; ++i) streams.push_back(engine.submit(request));
  while (!streams[0]->try_pop()) std::this_thread::yield();
  CHECK(engine.device_fault().empty());
  emulator::fail_kernel(3);
  for (const auto& stream : streams) {
    std::optional<Finish> finish;
    while (!stream->exhausted()) {
      if (auto event = stream->pop_until(std::chrono::steady_clock::now() + std::chrono::seconds(60))) {
        finish = std::move(event->finish);
      }
    }
    REQUIRE(finish.has_value());
    CHECK(finish->reason == FinishReason::kFailed);
    CHECK(finish->device_lost);
    CHECK_THAT(finish->error, Catch::Contains("cuda:0 failed") && Catch::Contains("restart"));
  }
  CHECK(engine.device_fault() ==
        std::string("cuda:0 failed and can do nothing more in this process: restart the "
                    "program (CUDA: work on the device: unspecified launch failure "
                    "(cudaErrorLaunchFailure))"));
  CHECK_THROWS_AS(engine.submit(request), DeviceLost);
}

TEST_CASE("a backend on the second device works when any thread calls it") {
  const EmulatedMachine machine({.name = "the first", .memory_bytes = 1000}, {.name = "the second"});
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 6), 21);
  const ModelConfig& config = model.model.config;
  const std::vector<TokenId> tokens = test::Random(22).tokens(20, config.vocab_size);
  const Segment segment = read_all(0, 0, tokens);
  const auto in_another_thread = [](const std::function<void()>& work) { std::thread(work).join(); };
  const auto make = [&] {
    return cuda::make_cuda_backend(
        model.model, {.num_slots = 4, .max_batch_tokens = 64, .max_logits_rows = 64, .device = 1});
  };

  const auto backend = make();
  CHECK(backend->info().device == "cuda:1");
  CHECK(backend->info().device_name == "the second");
  backend->reset(0);
  const std::vector<float> wanted = step(*backend, segment);
  const Bytes state = saved(*backend, config, 0, 20);
  in_another_thread([&] {
    backend->reset(0);
    CHECK(step(*backend, segment) == wanted);
    CHECK(saved(*backend, config, 0, 20) == state);
    backend->copy(0, 1, 20);
    backend->load(2, 20, state);
  });
  CHECK(saved(*backend, config, 1, 20) == state);
  CHECK(saved(*backend, config, 2, 20) == state);

  // It is the choice of the device that makes it so.
  emulator::keep_first_device(true);
  in_another_thread([&] {
    backend->reset(0);
    CHECK_THROWS_WITH(step(*backend, segment), Catch::Contains("invalid resource handle"));
  });
}

TEST_CASE("a device that cannot be used is refused with the reason") {
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 6), 19);
  {
    const EmulatedMachine machine;
    emulator::set_devices({});
    CHECK(cuda::cuda_devices().empty());
    CHECK_THROWS_AS(on_device(model.model), cuda::DeviceError);
  }
  for (const emulator::DeviceDescription& busy :
       {emulator::DeviceDescription{.choice_error = cudaErrorDevicesUnavailable},
        emulator::DeviceDescription{.memory_error = cudaErrorDevicesUnavailable}}) {
    const EmulatedMachine machine(busy);
    CHECK_THROWS_AS(cuda::check_memory(model.model, {}), cuda::DeviceError);
    CHECK_THROWS_WITH(on_device(model.model),
                      Catch::Contains("cuda:0 (emulated device) cannot be used, perhaps because another") &&
                          Catch::Contains("cudaErrorDevicesUnavailable") && Catch::Contains("--device cpu"));
  }
  for (const cudaError_t error :
       {cudaErrorNoKernelImageForDevice, cudaErrorInvalidDeviceFunction, cudaErrorUnsupportedPtxVersion}) {
    const EmulatedMachine machine({.major = 8, .minor = 6, .code_error = error});
    CHECK(cuda::why_unusable(0).empty());
    CHECK_THROWS_AS(on_device(model.model), cuda::DeviceError);
    CHECK_THAT(cuda::why_not_started(0),
               Catch::Contains("has compute capability 8.6, and this build has no code for it") &&
                   Catch::Contains("-DCMAKE_CUDA_ARCHITECTURES=86, "));
  }
  {
    const EmulatedMachine full({.choice_error = cudaErrorMemoryAllocation});
    CHECK_THROWS_AS(cuda::check_memory(model.model, {}), cuda::DeviceMemoryError);
  }
  const EmulatedMachine old({.name = "an old one", .major = 7, .minor = 5});
  CHECK_THROWS_WITH(on_device(model.model), Catch::Contains("7.5") && Catch::Contains("8.0 or newer"));
  CHECK_THROWS_WITH(cuda::make_cuda_backend(model.model, {.device = 1}), Catch::Contains("no cuda:1"));
}

TEST_CASE("where cuBLASLt cannot be started the own kernels do all products, with a warning") {
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 64), 23);
  const std::vector<TokenId> tokens = test::Random(24).tokens(40, model.model.config.vocab_size);
  std::vector<std::string> warnings;
  const auto make = [&](bool deterministic) {
    return cuda::make_cuda_backend(
        model.model, {.max_batch_tokens = 64,
                      .max_logits_rows = 64,
                      .deterministic = deterministic,
                      .warn = [&](const std::string& warning) { warnings.push_back(warning); }});
  };
  const auto logits = [&](Backend& backend) {
    backend.reset(0);
    return step(backend, read_all(0, 0, tokens));
  };
  const std::vector<float> wanted = logits(*make(true));
  const test::InstalledLibrary installed;
  CHECK_FALSE(make(false)->info().bitwise_invariant);
  CHECK(warnings.empty());
  emulator::fail_cublas_lt(3);
  const auto backend = make(false);
  REQUIRE(warnings.size() == 1);
  CHECK_THAT(warnings[0], Catch::Contains("cuBLASLt: preparing products failed with status 3, out of memory; "
                                          "the own kernels do all products"));
  CHECK(backend->info().bitwise_invariant);
  CHECK(backend->info().dispatch_target == "sm_90-fast");
  CHECK(logits(*backend) == wanted);
  CHECK(cuda::make_machine_probe(0)->measure().half_flops_per_second > 0.0);
}

TEST_CASE("what an installed driver is to blame for is told from a machine without one") {
  const EmulatedMachine machine;
  CHECK(cuda::driver_fault().empty());
  emulator::set_driver({.version = 13010});
  CHECK(cuda::driver_fault().empty());
  CHECK_THAT(cuda::cuda_description(), Catch::Contains("driver for CUDA 13.1, 1 device"));

  emulator::set_driver({.version = 12080});
  CHECK_THAT(cuda::driver_fault(), Catch::Contains("for CUDA 12.8") &&
                                       Catch::Contains("CUDA 13.0 or newer") &&
                                       Catch::Contains("or build with a CUDA toolkit that it knows"));
  CHECK(cuda::cuda_devices().empty());
  CHECK_THAT(cuda::why_unusable(0), Catch::Contains(cuda::driver_fault()));
  emulator::set_driver({.version = 11040});  // no toolkit that builds this program is for it
  CHECK_THAT(cuda::driver_fault(), Catch::Contains("update the driver") && !Catch::Contains("toolkit"));
  emulator::set_driver({.error = cudaErrorSystemDriverMismatch});
  CHECK_THAT(cuda::driver_fault(), Catch::Contains("cudaErrorSystemDriverMismatch"));

  emulator::set_driver({.version = 0});
  CHECK(cuda::driver_fault().empty());
  CHECK_THAT(cuda::cuda_description(), Catch::Contains("no NVIDIA driver is installed"));
  emulator::set_driver({});
  emulator::set_devices({});
  CHECK(cuda::driver_fault().empty());
  CHECK_THAT(cuda::cuda_description(), Catch::Contains("finds no GPU"));
}

}  // namespace ttt
