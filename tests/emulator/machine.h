// SPDX-License-Identifier: Apache-2.0
// What the parts of the emulated CUDA runtime share: the machine with its devices and memory, and the way
// that work goes onto a stream.
#pragma once

#include <cuda_runtime_api.h>
#include <emulated_device.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/runtime_calls.h"

namespace ttt::emulator {

// A piece of work on a stream, or a node of a graph.
struct Work {
  enum class Kind { kKernel, kCopy, kFill, kEvent };
  Kind kind = Kind::kKernel;
  std::string name;  // of a kernel
  std::function<void()> run;
};
using SharedWork = std::shared_ptr<const Work>;

struct Capture {
  std::unique_ptr<CUgraph_st> graph;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;   // that began it
  bool is_spoiled = false;  // something was done that a capture does not allow
};

}  // namespace ttt::emulator

struct CUgraph_st {
  std::vector<ttt::emulator::SharedWork> nodes;  // one after another
};
struct CUgraphExec_st {
  std::vector<ttt::emulator::SharedWork> nodes;
};

struct CUstream_st {
  int device = 0;
  std::deque<std::function<void()>> work;
  std::uint64_t queued = 0, done = 0;
  std::unique_ptr<ttt::emulator::Capture> capture;  // null: not capturing
};

namespace ttt::emulator {

struct Region {
  std::size_t bytes = 0;
  int device = 0;  // of device memory
};
using Regions = std::map<std::byte*, Region>;

struct Machine {
  std::vector<DeviceDescription> devices = {{}};
  DriverDescription driver;
  int installations = 0;  // of devices
  bool keeps_first_device = false, choice_hides_fault = false;
  Regions device_memory, pinned_memory;
  std::set<CUstream_st*> streams;
  std::set<CUgraphExec_st*> graphs;
  test::RuntimeCalls counters;
  int failing_allocation = 0, failing_launch = 0, failing_kernel = 0;
  cudaError_t last_error = cudaSuccess;
  cudaError_t sticky_error = cudaSuccess;
  int executing = 0;
  std::recursive_mutex mutex;
};
Machine& machine();

class Lock {
 public:
  explicit Lock(std::recursive_mutex& mutex) : lock_(mutex) {}

 private:
  Uncounted uncounted_;
  std::lock_guard<std::recursive_mutex> lock_;
};

// Passes the error on, which cudaGetLastError() returns next.
cudaError_t report(cudaError_t error);

// Counts down to a planted failure.
bool takes_effect_now(int& countdown);

int current_device();  // of the thread
void choose_device(int device);
bool has_device(int device);
const DeviceDescription& description_of(int device);  // REQUIRES: has_device(device)
const DeviceDescription& device_of_thread();          // REQUIRES: there is a device

std::size_t used_bytes(int device);
bool on_device(const void* at);
bool pinned(const void* at);
// To the address sanitizer: the host may not touch this device memory.
void poison(void* memory, std::size_t bytes);
void unpoison(void* memory, std::size_t bytes);

// While it lives, the device works: only then may its memory be touched, which the address sanitizer sees to.
class DeviceAtWork {
 public:
  DeviceAtWork();
  ~DeviceAtWork();
  DeviceAtWork(const DeviceAtWork&) = delete;
  DeviceAtWork& operator=(const DeviceAtWork&) = delete;
};

// While it lives, a kernel of this device runs, which cannot touch the memory of others.
class KernelAtWork {
 public:
  explicit KernelAtWork(int device);
  ~KernelAtWork();
  KernelAtWork(const KernelAtWork&) = delete;
  KernelAtWork& operator=(const KernelAtWork&) = delete;

 private:
  int device_;
};

void run_until(CUstream_st* stream, std::uint64_t ticket);
void run_all();

// Puts work on a stream, where it is counted, or into the graph that the stream captures. The null stream, of
// the current device, waits for all others: what is put on it is done at once.
cudaError_t put(cudaStream_t stream, Work work);
cudaError_t put(cudaStream_t stream, const SharedWork& work);  // not captured

// What waits for the device or may change its memory is refused in a thread that captures, or while any
// thread does in the global mode; then the capture is spoiled. cudaSuccess: nobody does.
cudaError_t refuse_while_capturing();
// Likewise, for work that cannot be captured on this stream.
cudaError_t refuse_on_capturing(cudaStream_t stream);

}  // namespace ttt::emulator
