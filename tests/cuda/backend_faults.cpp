// SPDX-License-Identifier: Apache-2.0
// What the CUDA backend does where the machine lacks something or the device fails, in the block emulator.
#include <emulated_device.h>

#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cuda/cuda_backend.h"
#include "engine/engine.h"
#include "engine/state_layout.h"
#include "tests/cuda/device_config.h"
#include "tests/cuda/installed_library.h"
#include "tests/cuda/lost_device.h"
#include "tests/cuda/one_step.h"
#include "tests/error_metric.h"
#include "tests/random.h"
#include "tests/random_model.h"
#include "tests/runtime_calls.h"
#include "tests/same_bits.h"

namespace ttt {
namespace {

using Bytes = std::vector<std::byte>;
using test::on_device;
using test::read_all;
using test::saved;
using test::step;

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
    emulator::hide_fault_from_choice(false);
    emulator::reset_errors();
    emulator::set_devices({{}});
    emulator::set_driver({});
  }
  EmulatedMachine(const EmulatedMachine&) = delete;
  EmulatedMachine& operator=(const EmulatedMachine&) = delete;
};

}  // namespace

TEST_CASE("memory is what was planned, and a model that does not fit is refused with the sum") {
  const test::RandomModel model(test::device_config(LayerType::kTttMlp, 2, 8), 11);
  const auto precision = GENERATE(cuda::Precision::kExact, cuda::Precision::kFast);
  cuda::CudaOptions options{.num_slots = 3, .max_batch_tokens = 16, .precision = precision};
  const cuda::MemoryPlan plan = cuda::plan_memory(model.model, options);
  {
    const std::size_t before = emulator::allocated_bytes();
    const auto backend = cuda::make_cuda_backend(model.model, options);
    CHECK(emulator::allocated_bytes() - before == plan.allocated());
    CHECK(plan.states >= 3 * backend->info().slot_bytes);
  }
  {
    const EmulatedMachine machine({.memory_bytes = plan.total() - 1});
    CHECK_THROWS_WITH(
        cuda::make_cuda_backend(model.model, options),
        Catch::Contains("kept for CUDA itself 0.06 GiB") && Catch::Contains("2 sequences would fit"));
  }
  const EmulatedMachine machine({.memory_bytes = plan.total()});
  CHECK_NOTHROW(cuda::make_cuda_backend(model.model, options));
  options.num_slots = 100;
  CHECK_THROWS_AS(cuda::make_cuda_backend(model.model, options), cuda::DeviceMemoryError);
  CHECK_THROWS_WITH(cuda::make_cuda_backend(model.model, options),
                    Catch::Contains("are needed") && Catch::Contains("free of") &&
                        Catch::Contains("3 sequences would fit"));
}

TEST_CASE("an allocation that fails leaves nothing allocated") {
  const EmulatedMachine machine;
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 6), 12);
  emulator::fail_allocation(1);  // the stream
  CHECK_THROWS_WITH(on_device(model.model),
                    Catch::Contains("are needed (weights ") && Catch::Contains("states of 4 sequences") &&
                        Catch::Contains("but more was taken meanwhile, by CUDA or by another program (CUDA: "
                                        "creation of a stream: out of memory (cudaErrorMemoryAllocation)): "
                                        "run fewer"));
  CHECK(emulator::allocated_bytes() == 0);
  emulator::fail_allocation(2);  // the arena, for which there was room
  CHECK_THROWS_WITH(on_device(model.model),
                    Catch::Contains("more was taken meanwhile") && !Catch::Contains("would fit"));
  CHECK(emulator::allocated_bytes() == 0);
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
  CHECK(test::same_bits(saved(*backend, config, 0, 0), before));
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
    CHECK(test::same_bits(saved(*backend, config, 1, 9), stranger));
  }
  backend->reset(0);
  CHECK(test::same_bits(step(*backend, read_all(0, 0, tokens)), wanted));
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

TEST_CASE(
    "a device that fails while the backend asks nothing of it is lost at the next call, whichever it is") {
  const EmulatedMachine machine;
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 6), 17);
  const ModelConfig& config = model.model.config;
  const std::vector<TokenId> tokens = test::Random(18).tokens(9, config.vocab_size);
  const Segment segment = read_all(0, 0, tokens);
  Segment with_log_probs = segment;  // more of them than any step before it
  with_log_probs.wanted.log_probs = Rows::kAll;
  with_log_probs.wanted.top_n = 2;
  Bytes bytes(state_bytes(config, 0));
  const std::vector<std::function<void(Backend&)>> calls = {
      [&](Backend& backend) { backend.reset(1); },
      [&](Backend& backend) { backend.copy(0, 1, 9); },
      [&](Backend& backend) { backend.save(1, 0, bytes); },
      [&](Backend& backend) { backend.load(1, 0, bytes); },
      [&](Backend& backend) {
        backend.submit({&segment, 1});
      },
      [&](Backend& backend) {
        backend.submit({&with_log_probs, 1});
      },
  };
  for (const bool hides : {false, true}) {
    emulator::hide_fault_from_choice(hides);
    for (const auto& call : calls) {
      const auto backend = on_device(model.model), other = on_device(model.model);
      for (Backend* each : {backend.get(), other.get()}) each->reset(0);
      step(*backend, segment);
      emulator::fail_kernel(1);
      CHECK_THROWS_AS(step(*other, segment), DeviceLost);
      CHECK_THROWS_AS(call(*backend), DeviceLost);
      CHECK_THROWS_WITH(call(*backend), Catch::Contains("cuda:0 failed") && Catch::Contains("restart"));
      emulator::reset_errors();
    }
  }
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
  test::check_lost(streams);
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
    CHECK(test::same_bits(step(*backend, segment), wanted));
    CHECK(test::same_bits(saved(*backend, config, 0, 20), state));
    backend->copy(0, 1, 20);
    backend->load(2, 20, state);
  });
  CHECK(test::same_bits(saved(*backend, config, 1, 20), state));
  CHECK(test::same_bits(saved(*backend, config, 2, 20), state));

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
  CHECK(test::same_bits(logits(*backend), wanted));
  CHECK(cuda::make_machine_probe(0)->measure().half_flops_per_second > 0.0);
}

TEST_CASE("what cuBLASLt has no algorithm for, the own kernels multiply, with about the same result") {
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 64), 23);
  const std::vector<TokenId> tokens = test::Random(24).tokens(40, model.model.config.vocab_size);
  const test::InstalledLibrary installed;
  const auto launches_of = [&](std::vector<float>& logits) {
    const auto backend = on_device(model.model, 1, 64, cuda::Precision::kFast);
    backend->reset(0);
    test::reset_runtime_calls();
    logits = step(*backend, read_all(0, 0, tokens));
    const std::map<std::string, int> launches = test::runtime_calls().launches;
    const auto of = [&](const char* kernel) {
      int sum = 0;
      for (const auto& [name, count] : launches) sum += name.starts_with(kernel) ? count : 0;
      return sum;
    };
    return std::pair(of("cublas_lt_multiply"), of("product_mma"));
  };
  std::vector<float> wanted, found;
  CHECK(launches_of(wanted) == std::pair(9, 0));  // eight of the layer, and the head
  emulator::refuse_outputs(model.model.config.intermediate_size);
  CHECK(launches_of(found) == std::pair(7, 2));  // ffn_gate and ffn_up
  CHECK(test::mean_divergence(test::to_doubles(found), test::to_doubles(wanted),
                              model.model.config.vocab_size) <= 1e-6);
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
