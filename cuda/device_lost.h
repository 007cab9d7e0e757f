// SPDX-License-Identifier: Apache-2.0
// What is said of a device after a kernel has failed: CUDA refuses everything else in the process.
#pragma once

#include <fmt/format.h>

#include <string>

#include "engine/backend.h"

namespace ttt::cuda {

// `device`: "cuda:0"; `reason`: what CUDA says.
inline DeviceLost device_lost(const std::string& device, const std::string& reason) {
  return DeviceLost(fmt::format("{} failed and can do nothing more in this process: restart the program ({})",
                                device, reason));
}

}  // namespace ttt::cuda
