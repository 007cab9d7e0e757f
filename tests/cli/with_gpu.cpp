// SPDX-License-Identifier: Apache-2.0
// What makes of cli/main.cpp a program with a GPU. Variables describe it: FAILING_KERNEL says at which kernel
// of the process it fails; errors are CUDA's numbers.
#include <emulated_device.h>

#include <cstdlib>
#include <vector>

namespace {

using ttt::emulator::DeviceDescription, ttt::emulator::DriverDescription;

template <typename Value>
void read(const char* name, Value& value) {
  if (const char* const text = std::getenv(name); text != nullptr) {
    value = static_cast<Value>(std::strtoll(text, nullptr, 10));
  }
}

[[maybe_unused]] const bool is_described = [] {
  DeviceDescription device;
  read("GPU_MAJOR", device.major);
  read("GPU_MEMORY_BYTES", device.memory_bytes);
  read("GPU_CACHE_BYTES", device.cache_bytes);
  read("GPU_PROPERTIES_ERROR", device.properties_error);
  read("GPU_MEMORY_ERROR", device.memory_error);
  read("GPU_CHOICE_ERROR", device.choice_error);
  read("GPU_CODE_ERROR", device.code_error);
  int num_devices = 1;
  read("GPU_COUNT", num_devices);
  std::vector<DeviceDescription> devices(static_cast<std::size_t>(num_devices));  // sound ones
  if (num_devices > 0) devices[0] = device;
  ttt::emulator::set_devices(devices);

  DriverDescription driver;
  read("GPU_DRIVER", driver.version);
  read("GPU_DRIVER_ERROR", driver.error);
  ttt::emulator::set_driver(driver);

  int failing_kernel = 0;
  read("FAILING_KERNEL", failing_kernel);
  ttt::emulator::fail_kernel(failing_kernel);
  return true;
}();

}  // namespace
