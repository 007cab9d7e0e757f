// SPDX-License-Identifier: Apache-2.0
// The first thing that is asked of a device: to be current. That makes CUDA's context on it, so that here it
// turns out whether another program has it for itself, and whether this program has code for it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>

namespace ttt::cuda {

// "cuda:0 (NVIDIA H200)"
std::string device_label(int device);

// Makes the device current for this thread. Throws DeviceError with what to do.
int use_device(int device);

struct DeviceMemory {
  std::size_t free = 0, all = 0;  // bytes
};
// Of the current device. Throws DeviceError.
DeviceMemory memory_of(int device);

}  // namespace ttt::cuda
