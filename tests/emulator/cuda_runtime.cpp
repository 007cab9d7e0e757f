// SPDX-License-Identifier: Apache-2.0
// Errors, devices, memory and copies of the emulated CUDA runtime: see cuda_runtime_api.h and
// emulated_device.h. Any thread may call; one at a time is served.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tests/emulator/machine.h"

namespace ttt::emulator {
namespace {

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
  const auto is_pageable = [](const void* at) { return !on_device(at) && !pinned(at); };
  const bool waits = stream != nullptr && (is_pageable(to) || is_pageable(from));
  if (const cudaError_t refused = waits ? refuse_on_capturing(stream) : cudaSuccess; refused != cudaSuccess) {
    return refused;
  }
  const auto work = [=] { copy_rows(to, to_pitch, from, from_pitch, width, height); };
  const cudaError_t error = put(stream, {.kind = Work::Kind::kCopy, .name = {}, .run = work});
  if (error != cudaSuccess) return error;
  if (waits) {
    ++machine().counters.synchronisations;
    run_until(stream, stream->queued);
  }
  return machine().sticky_error;
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
  if (const cudaError_t refused = refuse_while_capturing(); refused != cudaSuccess) return refused;
  ++machine().counters.synchronisations;
  run_all();
  unpoison(memory, region->second.bytes);
  regions.erase(region);
  std::free(memory);
  return cudaSuccess;
}

}  // namespace

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
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorDevicesUnavailable:
      return "cudaErrorDevicesUnavailable";
    case cudaErrorInvalidDeviceFunction:
      return "cudaErrorInvalidDeviceFunction";
    case cudaErrorNoKernelImageForDevice:
      return "cudaErrorNoKernelImageForDevice";
    case cudaErrorUnsupportedPtxVersion:
      return "cudaErrorUnsupportedPtxVersion";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorLaunchOutOfResources:
      return "cudaErrorLaunchOutOfResources";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorSystemDriverMismatch:
      return "cudaErrorSystemDriverMismatch";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
      return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureImplicit:
      return "cudaErrorStreamCaptureImplicit";
    case cudaErrorStreamCaptureWrongThread:
      return "cudaErrorStreamCaptureWrongThread";
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
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorDevicesUnavailable:
      return "CUDA-capable device(s) is/are busy or unavailable";
    case cudaErrorInvalidDeviceFunction:
      return "invalid device function";
    case cudaErrorNoKernelImageForDevice:
      return "no kernel image is available for execution on the device";
    case cudaErrorUnsupportedPtxVersion:
      return "the provided PTX was compiled with an unsupported toolchain.";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorLaunchOutOfResources:
      return "too many resources requested for launch";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorSystemDriverMismatch:
      return "system has unsupported display driver / cuda driver combination";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureImplicit:
      return "operation would make the legacy stream depend on a capturing blocking stream";
    case cudaErrorStreamCaptureWrongThread:
      return "attempt to terminate a thread-local capture sequence from another thread";
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
  *version = machine().driver.version;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  const Lock lock(machine().mutex);
  constexpr int kMajor = 1000;  // of a version
  *count = 0;
  if (machine().driver.error != cudaSuccess) return report(machine().driver.error);
  if (machine().driver.version / kMajor < CUDART_VERSION / kMajor) return report(cudaErrorInsufficientDriver);
  *count = static_cast<int>(machine().devices.size());
  return report(*count == 0 ? cudaErrorNoDevice : cudaSuccess);
}

cudaError_t cudaSetDevice(int device) {
  const Lock lock(machine().mutex);
  if (!has_device(device)) return report(cudaErrorInvalidDevice);
  if (const cudaError_t error = description_of(device).choice_error; error != cudaSuccess)
    return report(error);
  choose_device(device);
  return machine().choice_hides_fault ? cudaSuccess : report(machine().sticky_error);
}

cudaError_t cudaGetDevice(int* device) {
  const Lock lock(machine().mutex);
  *device = current_device();
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const Lock lock(machine().mutex);
  if (!has_device(device)) return report(cudaErrorInvalidDevice);
  const DeviceDescription& described = description_of(device);
  if (described.properties_error != cudaSuccess) return report(described.properties_error);
  *properties = {};
  described.name.copy(properties->name, sizeof properties->name - 1);
  properties->totalGlobalMem = described.memory_bytes;
  properties->sharedMemPerBlockOptin = described.shared_bytes_per_block;
  properties->major = described.major;
  properties->minor = described.minor;
  properties->multiProcessorCount = 4;
  properties->l2CacheSize = described.cache_bytes;
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
    case cudaDevAttrL2CacheSize:
      *value = properties.l2CacheSize;
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
  if (device_of_thread().memory_error != cudaSuccess) return report(device_of_thread().memory_error);
  *total_bytes = device_of_thread().memory_bytes;
  *free_bytes = *total_bytes - std::min(*total_bytes, used_bytes(current_device()));
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  const Lock lock(machine().mutex);
  if (machine().devices.empty()) return report(cudaErrorNoDevice);
  *attributes = {.ptxVersion = device_of_thread().major * 10 + device_of_thread().minor};
  return report(device_of_thread().code_error);
}

cudaError_t cudaDeviceSynchronize() {
  const Lock lock(machine().mutex);
  if (const cudaError_t refused = refuse_while_capturing(); refused != cudaSuccess) return report(refused);
  ++machine().counters.synchronisations;
  run_all();
  return report(machine().sticky_error);
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  const Lock lock(machine().mutex);
  *memory = nullptr;
  if (machine().devices.empty()) return report(cudaErrorNoDevice);
  if (machine().sticky_error != cudaSuccess) return machine().sticky_error;
  if (const cudaError_t refused = refuse_while_capturing(); refused != cudaSuccess) return report(refused);
  ++machine().counters.allocations;
  if (takes_effect_now(machine().failing_allocation)) return report(cudaErrorMemoryAllocation);
  if (used_bytes(current_device()) + bytes > device_of_thread().memory_bytes) {
    return report(cudaErrorMemoryAllocation);
  }
  if (const cudaError_t error = allocate(memory, bytes, machine().device_memory); error != cudaSuccess) {
    return report(error);
  }
  if (machine().executing == 0) poison(*memory, bytes);
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  const Lock lock(machine().mutex);
  return report(release_memory(memory, machine().device_memory));
}

cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  const Lock lock(machine().mutex);
  *memory = nullptr;
  if (const cudaError_t refused = refuse_while_capturing(); refused != cudaSuccess) return report(refused);
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
  return report(put(
      stream, {.kind = Work::Kind::kFill, .name = {}, .run = [=] { std::memset(memory, value, bytes); }}));
}
