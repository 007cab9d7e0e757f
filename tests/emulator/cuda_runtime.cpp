// SPDX-License-Identifier: Apache-2.0
// See cuda_runtime_api.h and emulated_device.h. Any thread may call; one at a time is served.
#include <cuda_runtime_api.h>
#include <cxxabi.h>
#include <dlfcn.h>
#include <emulated_device.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <set>

#include "block_emulator.h"

extern "C" {
[[gnu::weak]] void __asan_poison_memory_region(const volatile void* at, std::size_t bytes);
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void* at, std::size_t bytes);
}

struct CUstream_st {
  int device = 0;
  std::deque<std::function<void()>> work;
  std::uint64_t queued = 0, done = 0;
};

struct CUevent_st {
  CUstream_st* stream = nullptr;  // null: not recorded, or all before it is done
  std::uint64_t ticket = 0;       // done when as many of the stream's pieces of work are
  std::shared_ptr<std::chrono::steady_clock::time_point> reached;
};

namespace ttt::emulator {
namespace {

using Clock = std::chrono::steady_clock;

struct Region {
  std::size_t bytes = 0;
  int device = 0;  // of device memory
};
using Regions = std::map<std::byte*, Region>;

struct Machine {
  std::vector<DeviceDescription> devices = {{}};
  int installations = 0;  // of devices
  bool keeps_first_device = false;
  Regions device_memory, pinned_memory;
  std::set<CUstream_st*> streams;
  Counters counters;
  int failing_allocation = 0, failing_launch = 0, failing_kernel = 0;
  cudaError_t last_error = cudaSuccess;
  cudaError_t sticky_error = cudaSuccess;
  int executing = 0;
  std::recursive_mutex mutex;
};

Machine& machine() {
  static Machine the_machine;
  return the_machine;
}

// Each host thread chooses for itself; it begins with device 0.
struct Choice {
  int device = 0;
  int installation = 0;  // of which it is a device
};
thread_local Choice choice_of_thread;

int current_device() {
  return choice_of_thread.installation == machine().installations ? choice_of_thread.device : 0;
}

bool has_device(int device) {
  return device >= 0 && static_cast<std::size_t>(device) < machine().devices.size();
}

// REQUIRES: there is a device.
const DeviceDescription& device_of_thread() {
  return machine().devices[static_cast<std::size_t>(current_device())];
}

class Lock {
 public:
  explicit Lock(std::recursive_mutex& mutex) : lock_(mutex) {}

 private:
  Uncounted uncounted_;
  std::lock_guard<std::recursive_mutex> lock_;
};

cudaError_t report(cudaError_t error) {
  if (error != cudaSuccess) machine().last_error = error;
  return error;
}

bool takes_effect_now(int& countdown) { return countdown > 0 && --countdown == 0; }

std::size_t used_bytes(int device) {
  std::size_t used = 0;
  for (const auto& [memory, region] : machine().device_memory) {
    if (region.device == device) used += region.bytes;
  }
  return used;
}

const Regions::value_type* region_of(const Regions& regions, const void* at) {
  auto after = regions.upper_bound(static_cast<std::byte*>(const_cast<void*>(at)));
  if (after == regions.begin()) return nullptr;
  const auto& region = *--after;
  return at < region.first + region.second.bytes ? &region : nullptr;
}

bool on_device(const void* at) { return region_of(machine().device_memory, at) != nullptr; }
bool pinned(const void* at) { return region_of(machine().pinned_memory, at) != nullptr; }

// While it lives, the device works: only then may its memory be touched, which the address sanitizer sees to.
class DeviceAtWork {
 public:
  DeviceAtWork() {
    if (machine().executing++ == 0 && __asan_unpoison_memory_region != nullptr) {
      for (const auto& [memory, region] : machine().device_memory)
        __asan_unpoison_memory_region(memory, region.bytes);
    }
  }
  ~DeviceAtWork() {
    if (--machine().executing == 0 && __asan_poison_memory_region != nullptr) {
      for (const auto& [memory, region] : machine().device_memory)
        __asan_poison_memory_region(memory, region.bytes);
    }
  }
  DeviceAtWork(const DeviceAtWork&) = delete;
  DeviceAtWork& operator=(const DeviceAtWork&) = delete;
};

// While it lives, a kernel of this device runs, which cannot touch the memory of others.
class KernelAtWork {
 public:
  explicit KernelAtWork(int device) : device_(device) { for_others(__asan_poison_memory_region); }
  ~KernelAtWork() { for_others(__asan_unpoison_memory_region); }
  KernelAtWork(const KernelAtWork&) = delete;
  KernelAtWork& operator=(const KernelAtWork&) = delete;

 private:
  void for_others(void (*mark)(const volatile void*, std::size_t)) const {
    if (mark == nullptr) return;
    for (const auto& [memory, region] : machine().device_memory) {
      if (region.device != device_) mark(memory, region.bytes);
    }
  }
  int device_;
};

void run_until(CUstream_st* stream, std::uint64_t ticket) {
  const DeviceAtWork at_work;
  while (stream->done < ticket && !stream->work.empty()) {
    const std::function<void()> work = std::move(stream->work.front());
    stream->work.pop_front();
    ++stream->done;
    if (machine().sticky_error == cudaSuccess) work();
  }
}

void run_all() {
  for (CUstream_st* stream : machine().streams) run_until(stream, stream->queued);
}

// The null stream, of the current device, waits for all others: what is put on it is done at once.
cudaError_t put(cudaStream_t stream, std::function<void()> work) {
  if (machine().sticky_error != cudaSuccess) return machine().sticky_error;
  if (stream == nullptr) {
    run_all();
    const DeviceAtWork at_work;
    if (machine().sticky_error == cudaSuccess) work();
    return machine().sticky_error;
  }
  if (!machine().streams.contains(stream)) return cudaErrorInvalidResourceHandle;
  stream->work.push_back(std::move(work));
  ++stream->queued;
  return cudaSuccess;
}

void copy_rows(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t width,
               std::size_t height) {
  for (std::size_t row = 0; row < height; ++row) {
    std::memcpy(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch,
                width);
  }
}

bool kind_fits(const void* to, const void* from, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyDefault) return true;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  return on_device(to) == to_device && on_device(from) == from_device;
}

cudaError_t copy(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t width,
                 std::size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  if (width == 0 || height == 0) return cudaSuccess;
  if (to_pitch < width || from_pitch < width || !kind_fits(to, from, kind)) return cudaErrorInvalidValue;
  ++machine().counters.copies;
  const auto work = [=] { copy_rows(to, to_pitch, from, from_pitch, width, height); };
  if (const cudaError_t error = put(stream, work); error != cudaSuccess) return error;
  const auto pageable = [](const void* at) { return !on_device(at) && !pinned(at); };
  if (stream != nullptr && (pageable(to) || pageable(from))) {
    ++machine().counters.synchronisations;
    run_until(stream, stream->queued);
  }
  return machine().sticky_error;
}

std::string look_up_name(const void* kernel) {
  Dl_info info{};
  if (dladdr(kernel, &info) == 0 || info.dli_sname == nullptr) return "kernel without a name";
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> demangled(
      abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status), std::free);
  std::string name = status == 0 ? demangled.get() : info.dli_sname;
  // "void ttt::cuda::name<64>(ttt::cuda::Params)" -> "name<64>"
  name = name.substr(0, name.find('('));
  if (const std::size_t space = name.find(' '); space != std::string::npos && space < name.find('<')) {
    name.erase(0, space + 1);
  }
  for (std::size_t colons = name.find("::"); colons < name.find('<'); colons = name.find("::")) {
    name.erase(0, colons + 2);
  }
  return name;
}

// A look-up goes through all symbols of the program: once for each kernel.
const std::string& kernel_name(const void* kernel) {
  static std::map<const void*, std::string> names;
  std::string& name = names[kernel];
  if (name.empty()) name = look_up_name(kernel);
  return name;
}

cudaError_t allocate(void** memory, std::size_t bytes, Regions& regions) {
  constexpr std::size_t kAlignment = 256;  // as cudaMalloc's
  if (posix_memalign(memory, kAlignment, std::max<std::size_t>(bytes, 1)) != 0)
    return cudaErrorMemoryAllocation;
  std::memset(*memory, 0xFF, bytes);  // NaN
  regions.emplace(static_cast<std::byte*>(*memory), Region{bytes, current_device()});
  return cudaSuccess;
}

cudaError_t release_memory(void* memory, Regions& regions) {
  if (memory == nullptr) return cudaSuccess;
  const auto region = regions.find(static_cast<std::byte*>(memory));
  if (region == regions.end()) return cudaErrorInvalidValue;
  ++machine().counters.synchronisations;
  run_all();
  if (__asan_unpoison_memory_region != nullptr) __asan_unpoison_memory_region(memory, region->second.bytes);
  regions.erase(region);
  std::free(memory);
  return cudaSuccess;
}

}  // namespace

int Counters::num_launches() const {
  int sum = 0;
  for (const auto& [name, count] : launches) sum += count;
  return sum;
}

void set_devices(std::vector<DeviceDescription> devices) {
  const Lock lock(machine().mutex);
  if (!machine().device_memory.empty()) throw Error("devices changed while memory is allocated on them");
  machine().devices = std::move(devices);
  ++machine().installations;
}

void keep_first_device(bool keep) {
  const Lock lock(machine().mutex);
  machine().keeps_first_device = keep;
}

Counters counters() {
  const Lock lock(machine().mutex);
  return machine().counters;
}

void reset_counters() {
  const Lock lock(machine().mutex);
  machine().counters = {};
}

std::size_t allocated_bytes() {
  const Lock lock(machine().mutex);
  std::size_t used = 0;
  for (const auto& [memory, region] : machine().device_memory) used += region.bytes;
  return used;
}

void fail_allocation(int n) {
  const Lock lock(machine().mutex);
  machine().failing_allocation = n;
}

void fail_launch(int n) {
  const Lock lock(machine().mutex);
  machine().failing_launch = n;
}

void fail_kernel(int n) {
  const Lock lock(machine().mutex);
  machine().failing_kernel = n;
}

void reset_errors() {
  const Lock lock(machine().mutex);
  machine().sticky_error = machine().last_error = cudaSuccess;
  machine().failing_allocation = machine().failing_launch = machine().failing_kernel = 0;
}

cudaError_t put_kernel(const void* kernel, unsigned grid_x, unsigned grid_y, unsigned threads,
                       std::size_t shared_bytes, std::function<void()> body, cudaStream_t stream) {
  const Lock lock(machine().mutex);
  constexpr unsigned kMaxThreads = 1024, kMaxGridY = 65535, kMaxGridX = (1U << 31) - 1;
  if (machine().devices.empty()) return report(cudaErrorNoDevice);
  if (grid_x == 0 || grid_y == 0 || threads == 0 || threads > kMaxThreads || grid_x > kMaxGridX ||
      grid_y > kMaxGridY) {
    return report(cudaErrorInvalidConfiguration);
  }
  if (shared_bytes > device_of_thread().shared_bytes_per_block) return report(cudaErrorInvalidValue);
  const int device = current_device();
  if (stream != nullptr && machine().streams.contains(stream) && stream->device != device) {
    return report(cudaErrorInvalidResourceHandle);
  }
  if (takes_effect_now(machine().failing_launch)) return report(cudaErrorLaunchOutOfResources);
  const bool fails = takes_effect_now(machine().failing_kernel);
  const std::string name = kernel_name(kernel);
  ++machine().counters.launches[name];
  return report(put(stream, [=, body = std::move(body)] {
    if (fails) {
      machine().sticky_error = cudaErrorLaunchFailure;
      return;
    }
    const KernelAtWork at_work(device);
    run_grid(name, {grid_x, grid_y, threads, shared_bytes}, body);
  }));
}

}  // namespace ttt::emulator

using namespace ttt::emulator;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorLaunchOutOfResources:
      return "cudaErrorLaunchOutOfResources";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorLaunchOutOfResources:
      return "too many resources requested for launch";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
  }
  return "unrecognized error code";
}

cudaError_t cudaPeekAtLastError() {
  const Lock lock(machine().mutex);
  return machine().sticky_error != cudaSuccess ? machine().sticky_error : machine().last_error;
}

cudaError_t cudaGetLastError() {
  const Lock lock(machine().mutex);
  const cudaError_t error = cudaPeekAtLastError();
  machine().last_error = cudaSuccess;
  return error;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  const Lock lock(machine().mutex);
  *version = machine().devices.empty() ? 0 : CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  const Lock lock(machine().mutex);
  *count = static_cast<int>(machine().devices.size());
  return report(*count == 0 ? cudaErrorNoDevice : cudaSuccess);
}

cudaError_t cudaSetDevice(int device) {
  const Lock lock(machine().mutex);
  if (!has_device(device)) return report(cudaErrorInvalidDevice);
  if (!machine().keeps_first_device) choice_of_thread = {device, machine().installations};
  return report(machine().sticky_error);
}

cudaError_t cudaGetDevice(int* device) {
  const Lock lock(machine().mutex);
  *device = current_device();
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const Lock lock(machine().mutex);
  if (!has_device(device)) return report(cudaErrorInvalidDevice);
  const DeviceDescription& described = machine().devices[static_cast<std::size_t>(device)];
  *properties = {};
  described.name.copy(properties->name, sizeof properties->name - 1);
  properties->totalGlobalMem = described.memory_bytes;
  properties->sharedMemPerBlockOptin = described.shared_bytes_per_block;
  properties->major = described.major;
  properties->minor = described.minor;
  properties->multiProcessorCount = 4;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties{};
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device); error != cudaSuccess)
    return error;
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      return cudaSuccess;
  }
  return report(cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  const Lock lock(machine().mutex);
  if (machine().devices.empty()) return report(cudaErrorNoDevice);
  *total_bytes = device_of_thread().memory_bytes;
  *free_bytes = *total_bytes - std::min(*total_bytes, used_bytes(current_device()));
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  const Lock lock(machine().mutex);
  ++machine().counters.synchronisations;
  run_all();
  return report(machine().sticky_error);
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  const Lock lock(machine().mutex);
  *memory = nullptr;
  if (machine().devices.empty()) return report(cudaErrorNoDevice);
  if (machine().sticky_error != cudaSuccess) return machine().sticky_error;
  ++machine().counters.allocations;
  if (takes_effect_now(machine().failing_allocation)) return report(cudaErrorMemoryAllocation);
  if (used_bytes(current_device()) + bytes > device_of_thread().memory_bytes) {
    return report(cudaErrorMemoryAllocation);
  }
  if (const cudaError_t error = allocate(memory, bytes, machine().device_memory); error != cudaSuccess) {
    return report(error);
  }
  if (machine().executing == 0 && __asan_poison_memory_region != nullptr)
    __asan_poison_memory_region(*memory, bytes);
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  const Lock lock(machine().mutex);
  return report(release_memory(memory, machine().device_memory));
}

cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  const Lock lock(machine().mutex);
  *memory = nullptr;
  ++machine().counters.host_allocations;
  if (takes_effect_now(machine().failing_allocation)) return report(cudaErrorMemoryAllocation);
  return report(allocate(memory, bytes, machine().pinned_memory));
}

cudaError_t cudaFreeHost(void* memory) {
  const Lock lock(machine().mutex);
  return report(release_memory(memory, machine().pinned_memory));
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const Lock lock(machine().mutex);
  ++machine().counters.synchronisations;
  return report(copy(to, bytes, from, bytes, bytes, 1, kind, nullptr));
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const Lock lock(machine().mutex);
  return report(copy(to, bytes, from, bytes, bytes, 1, kind, stream));
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  const Lock lock(machine().mutex);
  return report(copy(to, to_pitch, from, from_pitch, width, height, kind, stream));
}

cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  return cudaMemsetAsync(memory, value, bytes, nullptr);
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  const Lock lock(machine().mutex);
  if (bytes > 0 && !on_device(memory)) return report(cudaErrorInvalidValue);
  ++machine().counters.fills;
  return report(put(stream, [=] { std::memset(memory, value, bytes); }));
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, 0); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const Lock lock(machine().mutex);
  if (machine().devices.empty()) return report(cudaErrorNoDevice);
  *stream = new CUstream_st;
  (*stream)->device = current_device();
  machine().streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock(machine().mutex);
  if (!machine().streams.contains(stream)) return report(cudaErrorInvalidResourceHandle);
  run_until(stream, stream->queued);
  machine().streams.erase(stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock(machine().mutex);
  ++machine().counters.synchronisations;
  if (stream == nullptr) {
    run_all();
  } else if (machine().streams.contains(stream)) {
    run_until(stream, stream->queued);
  } else {
    return report(cudaErrorInvalidResourceHandle);
  }
  return report(machine().sticky_error);
}

// Who asks makes it go on, or asking again and again would never end.
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Lock lock(machine().mutex);
  if (!machine().streams.contains(stream)) return report(cudaErrorInvalidResourceHandle);
  if (stream->work.empty()) return machine().sticky_error;
  run_until(stream, stream->done + 1);
  return cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Lock lock(machine().mutex);
  if (event->stream == nullptr) return cudaSuccess;
  return report(put(stream, [awaited = event->stream, ticket = event->ticket] {
    if (machine().streams.contains(awaited)) run_until(awaited, ticket);
  }));
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock(machine().mutex);
  event->reached = std::make_shared<Clock::time_point>();
  const cudaError_t error = put(stream, [reached = event->reached] { *reached = Clock::now(); });
  event->stream = stream;
  event->ticket = stream != nullptr ? stream->queued : 0;
  return report(error);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(machine().mutex);
  ++machine().counters.synchronisations;
  if (machine().streams.contains(event->stream)) run_until(event->stream, event->ticket);
  return report(machine().sticky_error);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Lock lock(machine().mutex);
  if (!machine().streams.contains(event->stream) || event->stream->done >= event->ticket) {
    return machine().sticky_error;
  }
  run_until(event->stream, event->stream->done + 1);
  return cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  const Lock lock(machine().mutex);
  if (start->reached == nullptr || stop->reached == nullptr) return report(cudaErrorInvalidResourceHandle);
  *milliseconds = std::chrono::duration<float, std::milli>(*stop->reached - *start->reached).count();
  return cudaSuccess;
}
