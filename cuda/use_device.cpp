// SPDX-License-Identifier: Apache-2.0
// why_not_started() of cuda_backend.h is here.
#include "cuda/use_device.h"

#include <fmt/format.h>

#include "cuda/cuda_backend.h"
#include "cuda/kernels/probe.h"

namespace ttt::cuda {
namespace {

[[noreturn]] void refuse_device(int device, cudaError_t error) {
  cudaGetLastError();  // it is reported here
  if (error == cudaErrorMemoryAllocation) {
    throw DeviceMemoryError(
        fmt::format("{} has not even memory to be started: other programs have filled it (nvidia-smi shows "
                    "which); end one of them, name another device, or use --device cpu",
                    device_label(device)));
  }
  throw DeviceError(
      fmt::format("{} cannot be used, perhaps because another program has it for itself: {} ({}); nvidia-smi "
                  "shows its programs and its compute mode: end that program, name another device, or use "
                  "--device cpu",
                  device_label(device), cudaGetErrorString(error), cudaGetErrorName(error)));
}

[[noreturn]] void refuse_code(int device, cudaError_t error) {
  const bool is_missing = error == cudaErrorNoKernelImageForDevice ||
                          error == cudaErrorInvalidDeviceFunction || error == cudaErrorUnsupportedPtxVersion;
  cudaDeviceProp properties{};
  if (!is_missing || cudaGetDeviceProperties(&properties, device) != cudaSuccess)
    refuse_device(device, error);
  cudaGetLastError();
  throw DeviceError(
      fmt::format("{} has compute capability {}.{}, and this build has no code for it: {} ({}); build with "
                  "-DTTT_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES={}{}, name another device, or use --device cpu",
                  device_label(device), properties.major, properties.minor, cudaGetErrorString(error),
                  cudaGetErrorName(error), properties.major, properties.minor));
}

}  // namespace

std::string device_label(int device) {
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, device) == cudaSuccess) {
    return fmt::format("cuda:{} ({})", device, properties.name);
  }
  cudaGetLastError();
  return fmt::format("cuda:{}", device);
}

int use_device(int device) {
  if (const std::string fault = why_unusable(device); !fault.empty()) throw DeviceError(fault);
  if (const cudaError_t error = cudaSetDevice(device); error != cudaSuccess) refuse_device(device, error);
  if (const cudaError_t error = look_for_code(); error != cudaSuccess) refuse_code(device, error);
  return device;
}

std::string why_not_started(int device) {
  try {
    use_device(device);
    return {};
  } catch (const DeviceError& error) {
    return error.what();
  }
}

DeviceMemory memory_of(int device) {
  DeviceMemory memory;
  const cudaError_t error = cudaMemGetInfo(&memory.free, &memory.all);
  if (error != cudaSuccess) refuse_device(device, error);
  return memory;
}

}  // namespace ttt::cuda
