// SPDX-License-Identifier: Apache-2.0
// The emulated CUDA runtime: what is put on a stream is done late, failures can be planted, everything is
// counted.
#include <cuda_runtime.h>
#include <emulated_device.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "cuda/cuda_backend.h"
#include "cuda/kernels/device.cuh"
#include "cuda/launch.cuh"
#include "tests/runtime_calls.h"

// Not a private name: the emulator counts launches by the names that the program exports.
namespace ttt::test {

struct AddParams {
  float* numbers = nullptr;
  float value = 0.0F;
};

template <int kTimes>
__global__ void add_to_all(const AddParams p) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  for (int time = 0; time < kTimes; ++time) p.numbers[i] += p.value;
}

}  // namespace ttt::test

using namespace ttt;
using Catch::Contains;
using test::add_to_all, test::AddParams;

namespace {

constexpr std::size_t kCount = 64;
constexpr std::size_t kBytes = kCount * sizeof(float);

struct Device {
  Device() {
    cuda::check(cudaMalloc(&memory, kBytes), "memory");
    cuda::check(cudaMallocHost(&host, kBytes), "pinned memory");
    cuda::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    test::reset_runtime_calls();
  }
  ~Device() {
    cudaStreamDestroy(stream);
    cudaFreeHost(host);
    cudaFree(memory);
    emulator::reset_errors();
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  void add(float value) {
    cuda::launch(add_to_all<2>, {.grid_x = 2, .threads = 32}, AddParams{memory, value}, stream);
  }

  float* memory = nullptr;
  float* host = nullptr;
  cudaStream_t stream = nullptr;
};

}  // namespace

TEST_CASE("work is done when something waits for it") {
  Device device;
  std::fill_n(device.host, kCount, 1.0F);
  REQUIRE(cudaMemcpyAsync(device.memory, device.host, kBytes, cudaMemcpyHostToDevice, device.stream) ==
          cudaSuccess);
  device.add(3.0F);
  REQUIRE(cudaMemcpyAsync(device.host, device.memory, kBytes, cudaMemcpyDeviceToHost, device.stream) ==
          cudaSuccess);
  CHECK(device.host[0] == 1.0F);
  std::fill_n(device.host, kCount, 2.0F);  // too early: the copy to the device has not read it
  REQUIRE(cudaStreamSynchronize(device.stream) == cudaSuccess);
  CHECK(device.host[0] == 8.0F);
  CHECK(device.host[63] == 8.0F);
  const test::RuntimeCalls counters = test::runtime_calls();
  CHECK(counters.synchronisations == 1);
  CHECK(counters.copies == 2);
  CHECK(counters.num_launches() == 1);
  CHECK(counters.launches.begin()->first == "add_to_all<2>");
}

TEST_CASE("device memory begins as NaN; a copy to pageable memory waits") {
  Device device;
  std::vector<float> pageable(kCount, 1.0F);
  REQUIRE(cudaMemcpyAsync(pageable.data(), device.memory, kBytes, cudaMemcpyDeviceToHost, device.stream) ==
          cudaSuccess);
  CHECK(std::isnan(pageable[0]));
  CHECK(test::runtime_calls().synchronisations == 1);
}

TEST_CASE("a stream that does not wait for another may be first") {
  Device device;
  cudaStream_t other = nullptr;
  REQUIRE(cudaStreamCreate(&other) == cudaSuccess);
  cudaEvent_t event = nullptr;
  REQUIRE(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
  const bool waits = GENERATE(false, true);
  device.host[0] = 5.0F;
  REQUIRE(cudaMemsetAsync(device.memory, 0, kBytes, device.stream) == cudaSuccess);
  REQUIRE(cudaEventRecord(event, device.stream) == cudaSuccess);
  CHECK(cudaEventQuery(event) == cudaErrorNotReady);
  if (waits) REQUIRE(cudaStreamWaitEvent(other, event) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(device.host, device.memory, sizeof(float), cudaMemcpyDeviceToHost, other) ==
          cudaSuccess);
  REQUIRE(cudaStreamSynchronize(other) == cudaSuccess);
  CHECK((waits ? device.host[0] == 0.0F
               : device.host[0] == 5.0F || std::isnan(device.host[0]) || device.host[0] == 0.0F));
  REQUIRE(cudaEventSynchronize(event) == cudaSuccess);
  CHECK(cudaEventQuery(event) == cudaSuccess);
  cudaEventDestroy(event);
  cudaStreamDestroy(other);
}

TEST_CASE("two-dimensional copies and wrong directions") {
  Device device;
  for (std::size_t i = 0; i < kCount; ++i) device.host[i] = static_cast<float>(i);
  REQUIRE(cudaMemsetAsync(device.memory, 0, kBytes, device.stream) == cudaSuccess);
  // 4 rows of 2 floats, 8 apart on the host and 16 on the device.
  REQUIRE(cudaMemcpy2DAsync(device.memory, 16 * 4, device.host, 8 * 4, 2 * 4, 4, cudaMemcpyHostToDevice,
                            device.stream) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(device.host, device.memory, kBytes, cudaMemcpyDeviceToHost, device.stream) ==
          cudaSuccess);
  REQUIRE(cudaStreamSynchronize(device.stream) == cudaSuccess);
  CHECK(device.host[1] == 1.0F);
  CHECK(device.host[2] == 0.0F);
  CHECK(device.host[17] == 9.0F);
  CHECK(device.host[49] == 25.0F);
  CHECK(cudaMemcpyAsync(device.host, device.memory, kBytes, cudaMemcpyHostToDevice, device.stream) ==
        cudaErrorInvalidValue);
}

TEST_CASE("planted failures") {
  Device device;
  void* memory = nullptr;
  emulator::fail_allocation(2);
  CHECK(cudaMalloc(&memory, 16) == cudaSuccess);
  cudaFree(memory);
  CHECK(cudaMalloc(&memory, 16) == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaSuccess);

  emulator::fail_launch(1);
  CHECK_THROWS_WITH(device.add(1.0F),
                    Contains("launch of a kernel: too many resources requested for launch"));
  cudaGetLastError();

  emulator::fail_kernel(2);
  REQUIRE(cudaMemsetAsync(device.memory, 0, kBytes, device.stream) == cudaSuccess);
  device.add(1.0F);
  CHECK(cudaStreamSynchronize(device.stream) == cudaSuccess);
  device.add(1.0F);
  CHECK(cudaStreamSynchronize(device.stream) == cudaErrorLaunchFailure);
  CHECK_THROWS_WITH(device.add(1.0F), Contains("unspecified launch failure"));
}

TEST_CASE("a device has as much memory as was said, and a block as much shared memory") {
  emulator::set_devices(
      {{.name = "small", .major = 8, .minor = 6, .memory_bytes = 1000, .shared_bytes_per_block = 99 << 10}});
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, 1001) == cudaErrorMemoryAllocation);
  REQUIRE(cudaMalloc(&memory, 600) == cudaSuccess);
  std::size_t free_bytes = 0, total_bytes = 0;
  REQUIRE(cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess);
  CHECK(free_bytes == 400);
  CHECK(total_bytes == 1000);
  CHECK(emulator::launch_kernel(
            nullptr, 1, 1, 32, 100 << 10, [] {}, nullptr) == cudaErrorInvalidValue);
  CHECK(emulator::launch_kernel(
            nullptr, 1, 1, 1025, 0, [] {}, nullptr) == cudaErrorInvalidConfiguration);
  CHECK(cudaFree(memory) == cudaSuccess);
  CHECK(cudaFree(memory) == cudaErrorInvalidValue);
  const std::vector<cuda::CudaDevice> devices = cuda::cuda_devices();
  REQUIRE(devices.size() == 1);
  CHECK(devices[0].name == "small");
  CHECK(devices[0].compute_capability_minor == 6);
  emulator::set_devices({});
  CHECK(cuda::cuda_devices().empty());
  CHECK(cudaMalloc(&memory, 1) == cudaErrorNoDevice);
  emulator::set_devices({{}});
  emulator::reset_errors();
}

TEST_CASE("each thread has its device, and a kernel starts only on a stream of it") {
  emulator::set_devices({{.name = "first", .memory_bytes = 1000}, {.name = "second", .memory_bytes = 2000}});
  REQUIRE(cudaSetDevice(1) == cudaSuccess);
  {
    Device device;  // memory and stream of the second
    std::size_t free_bytes = 0, total_bytes = 0;
    REQUIRE(cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess);
    CHECK(total_bytes == 2000);
    CHECK(free_bytes == 2000 - kBytes);
    REQUIRE(cudaMemsetAsync(device.memory, 0, kBytes, device.stream) == cudaSuccess);
    device.add(1.0F);
    std::thread([&] {
      int current = -1;
      CHECK(cudaGetDevice(&current) == cudaSuccess);
      CHECK(current == 0);
      CHECK(cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess);
      CHECK(free_bytes == 1000);
      CHECK_THROWS_WITH(device.add(1.0F), Contains("invalid resource handle"));
      // As CUDA: copies and waits go by what they are given.
      CHECK(cudaMemcpyAsync(device.host, device.memory, kBytes, cudaMemcpyDeviceToHost, device.stream) ==
            cudaSuccess);
      CHECK(cudaStreamSynchronize(device.stream) == cudaSuccess);
      CHECK(device.host[0] == 2.0F);
      CHECK(cudaSetDevice(1) == cudaSuccess);
      device.add(1.0F);
      CHECK(cudaStreamSynchronize(device.stream) == cudaSuccess);
      CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice);
      CHECK(cudaGetDevice(&current) == cudaSuccess);
      CHECK(current == 1);
    }).join();
  }
  emulator::set_devices({{}});
  int current = -1;
  REQUIRE(cudaGetDevice(&current) == cudaSuccess);
  CHECK(current == 0);
}

TEST_CASE("a kernel's fault is thrown to who waits for it") {
  Device device;
  cuda::launch(
      +[](AddParams) {
        if (threadIdx.x == 0) cuda::sync_block();
      },
      {.threads = 32}, AddParams{}, device.stream);
  CHECK_THROWS_WITH(cudaStreamSynchronize(device.stream), Contains("deadlock"));
}

namespace {

// Captures what `put` puts on the device's stream.
template <typename Put>
cudaGraphExec_t graph_of(Device& device, Put&& put) {
  REQUIRE(cudaStreamBeginCapture(device.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  put();
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamEndCapture(device.stream, &graph) == cudaSuccess);
  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
  REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
  return executable;
}

// Zeros, 2 `value`, and all of that to the host.
void put_work(Device& device, float value) {
  REQUIRE(cudaMemsetAsync(device.memory, 0, kBytes, device.stream) == cudaSuccess);
  device.add(value);
  REQUIRE(cudaMemcpyAsync(device.host, device.memory, kBytes, cudaMemcpyDeviceToHost, device.stream) ==
          cudaSuccess);
}

}  // namespace

TEST_CASE("what is captured is done and counted when its graph is launched, as often as it is") {
  Device device;
  device.host[7] = 1.0F;
  const cudaGraphExec_t graph = graph_of(device, [&] { put_work(device, 3.0F); });
  REQUIRE(cudaStreamSynchronize(device.stream) == cudaSuccess);
  CHECK(device.host[7] == 1.0F);
  CHECK(test::runtime_calls().num_launches() == 0);
  CHECK(test::runtime_calls().copies == 0);
  CHECK(test::runtime_calls().graphs_made == 1);
  for (int times = 1; times <= 2; ++times) {
    device.host[7] = 1.0F;
    REQUIRE(cudaGraphLaunch(graph, device.stream) == cudaSuccess);
    CHECK(device.host[7] == 1.0F);
    REQUIRE(cudaStreamSynchronize(device.stream) == cudaSuccess);
    CHECK(device.host[7] == 6.0F);
    const test::RuntimeCalls counted = test::runtime_calls();
    CHECK(counted.launches.at("add_to_all<2>") == times);
    CHECK(counted.copies == times);
    CHECK(counted.fills == times);
    CHECK(counted.graph_launches == times);
  }
  CHECK(test::num_graphs() == 1);
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
  CHECK(test::num_graphs() == 0);
  CHECK(cudaGraphLaunch(graph, device.stream) == cudaErrorInvalidValue);
}

TEST_CASE("what a capture does not allow is refused and leaves no graph, and the stream works afterwards") {
  Device device;
  void* memory = nullptr;
  float pageable = 0.0F;
  const std::vector<std::function<cudaError_t()>> forbidden = {
      [&] { return cudaStreamSynchronize(device.stream); },
      [&] { return cudaStreamQuery(device.stream); },
      [&] { return cudaDeviceSynchronize(); },
      [&] { return cudaMalloc(&memory, 16); },
      [&] { return cudaFree(device.memory); },
      [&] { return cudaMallocHost(&memory, 16); },
      [&] { return cudaFreeHost(device.host); },
      [&] { return cudaMemcpy(device.host, device.memory, 4, cudaMemcpyDeviceToHost); },
      [&] { return cudaMemcpyAsync(&pageable, device.memory, 4, cudaMemcpyDeviceToHost, device.stream); },
      [&] { return cudaMemset(device.memory, 0, 4); },
  };
  for (const auto& call : forbidden) {
    INFO(&call - forbidden.data());
    REQUIRE(cudaStreamBeginCapture(device.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    device.add(1.0F);
    const cudaError_t refused = call();
    CHECK((refused == cudaErrorStreamCaptureUnsupported || refused == cudaErrorStreamCaptureImplicit));
    CHECK_THROWS_WITH(device.add(1.0F), Contains("previous error during capture"));
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(device.stream, &graph) == cudaErrorStreamCaptureInvalidated);
    CHECK(graph == nullptr);
    cudaGetLastError();
  }
  put_work(device, 2.0F);
  CHECK(cudaStreamSynchronize(device.stream) == cudaSuccess);
  CHECK(device.host[0] == 4.0F);
}

TEST_CASE("a capture is its thread's") {
  Device device;
  REQUIRE(cudaStreamBeginCapture(device.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  CHECK(cudaStreamBeginCapture(device.stream, cudaStreamCaptureModeThreadLocal) == cudaErrorInvalidValue);
  cudaGraph_t graph = nullptr;
  std::thread([&] {
    void* memory = nullptr;
    CHECK(cudaMalloc(&memory, 16) == cudaSuccess);  // does not concern the other thread's capture
    CHECK(cudaFree(memory) == cudaSuccess);
    CHECK(cudaStreamEndCapture(device.stream, &graph) == cudaErrorStreamCaptureWrongThread);
  }).join();
  REQUIRE(cudaStreamEndCapture(device.stream, &graph) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(cudaStreamEndCapture(device.stream, &graph) == cudaErrorInvalidValue);
}

TEST_CASE("planted failures of captures and graphs") {
  Device device;
  // A launch in a capture.
  REQUIRE(cudaStreamBeginCapture(device.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  emulator::fail_launch(1);
  CHECK_THROWS_WITH(device.add(1.0F), Contains("too many resources"));
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(device.stream, &graph) == cudaErrorStreamCaptureInvalidated);
  cudaGetLastError();
  // The memory for a graph.
  REQUIRE(cudaStreamBeginCapture(device.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  REQUIRE(cudaStreamEndCapture(device.stream, &graph) == cudaSuccess);
  emulator::fail_allocation(1);
  cudaGraphExec_t executable = nullptr;
  CHECK(cudaGraphInstantiate(&executable, graph, 0) == cudaErrorMemoryAllocation);
  CHECK(executable == nullptr);
  REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
  // The launch of a graph, and a kernel in it.
  executable = graph_of(device, [&] {
    device.add(1.0F);
    device.add(1.0F);
  });
  emulator::fail_launch(1);
  CHECK(cudaGraphLaunch(executable, device.stream) == cudaErrorLaunchOutOfResources);
  emulator::fail_kernel(4);
  CHECK(cudaGraphLaunch(executable, device.stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(device.stream) == cudaSuccess);
  CHECK(cudaGraphLaunch(executable, device.stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(device.stream) == cudaErrorLaunchFailure);
  CHECK(cudaGraphLaunch(executable, device.stream) == cudaErrorLaunchFailure);
  emulator::reset_errors();
  CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
}
