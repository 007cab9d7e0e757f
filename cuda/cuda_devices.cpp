// SPDX-License-Identifier: Apache-2.0
// cuda_backend.h through the static CUDA runtime, which opens the driver at run time: the same binary starts
// on a machine without one.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "cuda/cublas_lt.h"
#include "cuda/cuda_backend.h"

namespace ttt::cuda {
namespace {

constexpr int kLeastComputeCapability = 8;  // mma.sync on bf16, cp.async

// CUDA packs a version as 1000 * major + 10 * minor.
std::string version_name(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

struct DeviceCount {
  cudaError_t error = cudaSuccess;
  int count = 0;
};

DeviceCount count_devices() {
  DeviceCount result;
  result.error = cudaGetDeviceCount(&result.count);
  if (result.error != cudaSuccess) {
    result.count = 0;
    cudaGetLastError();  // or the next runtime call of the program would report this one
  }
  return result;
}

}  // namespace

bool cuda_built() { return true; }

std::string cuda_description() {
  const std::string runtime = "CUDA runtime " + version_name(CUDART_VERSION);
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    return runtime + "; no NVIDIA driver is installed";
  }
  const auto [error, count] = count_devices();
  if (error != cudaSuccess) {
    return fmt::format("{}; no usable device: {} (driver for CUDA {})", runtime, cudaGetErrorString(error),
                       version_name(driver));
  }
  const CublasLt* const library = cublas_lt();
  return fmt::format("{}, driver for CUDA {}, {} {}, {}", runtime, version_name(driver), count,
                     count == 1 ? "device" : "devices",
                     library != nullptr ? "cuBLASLt " + version_of(*library) : "no cuBLASLt");
}

std::vector<CudaDevice> cuda_devices() {
  std::vector<CudaDevice> devices;
  const int count = count_devices().count;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) {
      cudaGetLastError();
      continue;
    }
    devices.push_back({.index = index,
                       .name = properties.name,
                       .compute_capability_major = properties.major,
                       .compute_capability_minor = properties.minor,
                       .memory_bytes = properties.totalGlobalMem});
  }
  return devices;
}

std::string why_unusable(int device) {
  const auto [error, count] = count_devices();
  if (error != cudaSuccess || count == 0) return cuda_description();
  if (device < 0 || device >= count) {
    return fmt::format("there is no cuda:{}, only cuda:0{}", device,
                       count == 1 ? "" : fmt::format(" to cuda:{}", count - 1));
  }
  cudaDeviceProp properties{};
  const cudaError_t asked = cudaGetDeviceProperties(&properties, device);
  if (asked != cudaSuccess) {
    cudaGetLastError();
    return fmt::format("cuda:{} does not answer: {}", device, cudaGetErrorString(asked));
  }
  if (properties.major < kLeastComputeCapability) {
    return fmt::format("cuda:{} ({}) has compute capability {}.{}, and the kernels need {}.0 or newer",
                       device, properties.name, properties.major, properties.minor, kLeastComputeCapability);
  }
  return {};
}

}  // namespace ttt::cuda
