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

// As CUDA packs a version: 1000 * major + 10 * minor. A driver runs every runtime of its major version.
constexpr int kLeastDriver = CUDART_VERSION / 1000 * 1000;
constexpr int kLeastDriverOfToolkits = 12000;  // of the oldest toolkit that builds this program, 12.8

std::string version_name(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

struct Driver {
  int version = 0;                  // 0: none is installed
  cudaError_t error = cudaSuccess;  // of counting devices
  int num_devices = 0;

  bool is_installed() const { return version != 0; }
  // That it finds no device is no fault.
  bool is_faulty() const { return is_installed() && error != cudaSuccess && error != cudaErrorNoDevice; }
  bool is_too_old() const { return error == cudaErrorInsufficientDriver && version < kLeastDriver; }
};

Driver ask_driver() {
  Driver driver;
  if (cudaDriverGetVersion(&driver.version) != cudaSuccess) driver.version = 0;
  driver.error = cudaGetDeviceCount(&driver.num_devices);
  if (driver.error != cudaSuccess) driver.num_devices = 0;
  cudaGetLastError();  // or the next runtime call of the program would report these
  return driver;
}

// REQUIRES: it offers no device.
std::string why_no_device(const Driver& driver) {
  if (!driver.is_installed()) return "no NVIDIA driver is installed";
  const std::string version = version_name(driver.version);
  if (driver.is_too_old()) {
    return fmt::format(
        "the NVIDIA driver is too old: it is for CUDA {}, and this build needs one for CUDA {} or newer; "
        "update the driver{}",
        version, version_name(kLeastDriver),
        driver.version < kLeastDriverOfToolkits
            ? ""
            : ", or build with a CUDA toolkit that it knows, 12.8 or newer");
  }
  if (!driver.is_faulty()) return fmt::format("the driver (for CUDA {}) finds no GPU", version);
  return fmt::format(
      "the NVIDIA driver (for CUDA {}) does not work: {} ({}); see what nvidia-smi says: after an update of "
      "the driver the machine must be started again",
      version, cudaGetErrorString(driver.error), cudaGetErrorName(driver.error));
}

}  // namespace

bool cuda_built() { return true; }

std::string cuda_description() {
  const std::string runtime = "CUDA runtime " + version_name(CUDART_VERSION);
  const Driver driver = ask_driver();
  if (driver.num_devices == 0) return fmt::format("{}; {}", runtime, why_no_device(driver));
  const CublasLt* const library = cublas_lt();
  return fmt::format("{}, driver for CUDA {}, {} {}, {}", runtime, version_name(driver.version),
                     driver.num_devices, driver.num_devices == 1 ? "device" : "devices",
                     library != nullptr ? "cuBLASLt " + version_of(*library) : "no cuBLASLt");
}

std::string driver_fault() {
  const Driver driver = ask_driver();
  return driver.is_faulty() ? why_no_device(driver) : "";
}

std::vector<CudaDevice> cuda_devices() {
  std::vector<CudaDevice> devices;
  const int count = ask_driver().num_devices;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    const bool answers = cudaGetDeviceProperties(&properties, index) == cudaSuccess;
    cudaGetLastError();
    devices.push_back({.index = index,
                       .name = answers ? properties.name : "a device that does not answer",
                       .compute_capability_major = properties.major,
                       .compute_capability_minor = properties.minor,
                       .memory_bytes = properties.totalGlobalMem});
  }
  return devices;
}

std::string why_unusable(int device) {
  const int count = ask_driver().num_devices;
  if (count == 0) return cuda_description();
  if (device < 0 || device >= count) {
    return fmt::format("there is no cuda:{}, only cuda:0{}", device,
                       count == 1 ? "" : fmt::format(" to cuda:{}", count - 1));
  }
  cudaDeviceProp properties{};
  const cudaError_t asked = cudaGetDeviceProperties(&properties, device);
  if (asked != cudaSuccess) {
    cudaGetLastError();
    return fmt::format("cuda:{} does not answer: {} ({})", device, cudaGetErrorString(asked),
                       cudaGetErrorName(asked));
  }
  if (properties.major < kLeastComputeCapability) {
    return fmt::format("cuda:{} ({}) has compute capability {}.{}, and the kernels need {}.0 or newer",
                       device, properties.name, properties.major, properties.minor, kLeastComputeCapability);
  }
  return {};
}

}  // namespace ttt::cuda
