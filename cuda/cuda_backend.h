// SPDX-License-Identifier: Apache-2.0
// NVIDIA devices as the rest of the program sees them. Linked from cuda_devices.cpp where a CUDA toolkit was
// asked for, else from cuda_absent.cpp: callers include this header and link ttt_cuda either way. It lists
// devices; it does not compute on them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ttt::cuda {

struct CudaDevice {
  int index = 0;
  std::string name;
  int compute_capability_major = 0;
  int compute_capability_minor = 0;
  std::uint64_t memory_bytes = 0;
};

bool cuda_built();

// One line for people: the runtime, the driver and how many devices, or why there are none.
std::string cuda_description();

// Empty without a driver or a device; cuda_description() says which. Creates no context on any device.
std::vector<CudaDevice> cuda_devices();

}  // namespace ttt::cuda
