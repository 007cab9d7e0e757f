// SPDX-License-Identifier: Apache-2.0
// make_machine_probe() of cuda_backend.h: what a GPU can do at best.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <utility>

#include "cuda/cublas_lt.h"
#include "cuda/cuda_backend.h"
#include "cuda/device_lost.h"
#include "cuda/device_memory.h"
#include "cuda/kernels/probe.h"
#include "cuda/library_products.h"
#include "cuda/use_device.h"
#include "engine/machine_limits.h"

namespace ttt::cuda {
namespace {

// The buffer that is read is so many times as large as the L2 cache: of what was read before, no more than
// the sixteenth part can still be there.
constexpr std::size_t kCaches = 16;
// A launch takes some microseconds, which a reading must be long beside.
constexpr double kLeastSeconds = 2e-3;
constexpr int kFirstRounds = 4, kMostRounds = 1 << 20;

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "creation of an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  cudaEvent_t get() const { return event_; }
  void record(cudaStream_t stream) const { check(cudaEventRecord(event_, stream), "an event"); }

 private:
  cudaEvent_t event_ = nullptr;
};

class Timer {
 public:
  void begin(cudaStream_t stream) const { begin_.record(stream); }
  void end(cudaStream_t stream) const { end_.record(stream); }
  // REQUIRES: the stream has come to the end.
  double seconds() const {
    float milliseconds = 0.0F;
    check(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()), "the time between two events");
    return static_cast<double>(milliseconds) * 1e-3;
  }

 private:
  Event begin_, end_;
};

// Device memory of a probe.
struct ProbeParts {
  ProbeParts(std::size_t cache_bytes, DeviceArena& arena)
      : buffer_bytes(kCaches * cache_bytes),
        buffer(arena.take<std::byte>(buffer_bytes)),
        sink(arena.take<std::uint32_t>(num_probe_threads())),
        workspace(cublas_lt() != nullptr ? arena.take<std::byte>(kLibraryWorkspaceBytes) : nullptr) {}

  std::size_t buffer_bytes;
  std::byte* buffer;
  std::uint32_t* sink;
  std::byte* workspace;
};

class DeviceProbe final : public MachineProbe {
 public:
  DeviceProbe(int device, DeviceArena arena, std::size_t cache_bytes)
      : device_(device), arena_(std::move(arena)), parts_(cache_bytes, arena_) {
    launch_probe_fill({.pairs = reinterpret_cast<std::uint32_t*>(parts_.buffer),
                       .count = parts_.buffer_bytes / sizeof(std::uint32_t)},
                      stream_.get());
    prepare_library();
    DeviceProbe::measure();  // a kernel's first launch loads it
  }
  ~DeviceProbe() override { cudaSetDevice(device_); }

  MachineLimits measure() override {
    check(cudaSetDevice(device_), "choosing a device");
    return {.read_bytes_per_second = read_rate(),
            .flops_per_second = rate_of(multiply_rounds_,
                                        [&](int rounds) {
                                          return launch_probe_multiply_add(
                                              {.rounds = rounds, .sink = parts_.sink}, stream_.get());
                                        }),
            .half_flops_per_second = std::max(mma_rate(), library_rate())};
  }

 private:
  // `start(rounds)` puts work onto the stream and returns how much; as many rounds as the time needs.
  template <typename Start>
  double rate_of(int& rounds, Start&& start) const {
    for (;;) {
      timer_.begin(stream_.get());
      const double work = start(rounds);
      timer_.end(stream_.get());
      synchronise();
      const double seconds = timer_.seconds();
      if (work == 0.0) return 0.0;
      if (seconds >= kLeastSeconds || rounds >= kMostRounds) return work / seconds;
      rounds *= 2;
    }
  }

  void synchronise() const {
    try {
      stream_.synchronise();
    } catch (const std::runtime_error& error) {
      throw device_lost(fmt::format("cuda:{}", device_), error.what());
    }
  }

  double read_rate() {
    return rate_of(read_rounds_, [&](int rounds) {
      constexpr std::size_t kChunk = 16;
      const std::size_t chunks = parts_.buffer_bytes / kChunk;
      for (int round = 0; round < rounds; ++round) {
        launch_probe_read({.from = parts_.buffer, .chunks = chunks, .sink = parts_.sink}, stream_.get());
      }
      return static_cast<double>(rounds) * static_cast<double>(chunks * kChunk);
    });
  }

  double mma_rate() {
    return rate_of(mma_rounds_, [&](int rounds) {
      return launch_probe_mma({.rounds = rounds, .sink = parts_.sink}, stream_.get());
    });
  }

  // The largest square product, its sides a power of two, whose operands (16 bits) and result (fp32) have
  // room in the buffer.
  void prepare_library() {
    if (parts_.workspace == nullptr) return;
    constexpr std::size_t kBytes = 2 + 2 + 4;  // of an element of each
    const auto side = static_cast<std::uint32_t>(std::bit_floor(
        static_cast<std::size_t>(std::sqrt(static_cast<double>(parts_.buffer_bytes / kBytes)))));
    const std::size_t half_bytes = std::size_t{side} * side * 2;
    const Matrix weight{.data = parts_.buffer,
                        .outputs = side,
                        .inputs = side,
                        .type = MatrixType::kF16,
                        .operands = OperandType::kF16};
    product_ = {.weight = weight,
                .x = parts_.buffer + half_bytes,
                .y = reinterpret_cast<float*>(parts_.buffer + 2 * half_bytes),
                .num_rows = side};
    try {
      auto library =
          std::make_unique<LibraryProducts>(*cublas_lt(), LibraryMemory{.workspace = parts_.workspace});
      library->prepare(weight, side);
      library_ = std::move(library);
    } catch (const std::runtime_error&) {  // the backend does without it too, and says so
      cudaGetLastError();
    }
  }

  // Of cuBLASLt, whose instructions a kernel for all GPUs has not; 0 without it.
  double library_rate() {
    if (library_ == nullptr) return 0.0;
    return rate_of(library_rounds_, [&](int rounds) {
      double flops = 0.0;
      for (int round = 0; round < rounds; ++round) {
        if (!library_->run(product_, stream_.get())) break;
        flops += 2.0 * std::pow(static_cast<double>(product_.num_rows), 3.0);
      }
      return flops;
    });
  }

  int device_;
  Stream stream_;
  Timer timer_;
  DeviceArena arena_;
  ProbeParts parts_;
  std::unique_ptr<LibraryProducts> library_;
  Product product_;
  int read_rounds_ = 1, multiply_rounds_ = kFirstRounds, mma_rounds_ = kFirstRounds, library_rounds_ = 1;
};

}  // namespace

std::unique_ptr<MachineProbe> make_machine_probe(int device) {
  use_device(device);
  int cache_bytes = 0;
  check(cudaDeviceGetAttribute(&cache_bytes, cudaDevAttrL2CacheSize, device),
        "asking for the size of a cache");
  const auto bytes = static_cast<std::size_t>(cache_bytes);
  DeviceArena arena;
  const ProbeParts measured(bytes, arena);
  if (!arena.allocate()) return nullptr;
  return std::make_unique<DeviceProbe>(device, std::move(arena), bytes);
}

}  // namespace ttt::cuda
