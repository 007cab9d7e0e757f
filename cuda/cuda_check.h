// SPDX-License-Identifier: Apache-2.0
// A CUDA call that fails becomes an exception.
#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace ttt::cuda {

// `what` says what was being done: "CUDA: <what>: out of memory (cudaErrorMemoryAllocation)".
inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error) + " (" +
                           cudaGetErrorName(error) + ")");
}

}  // namespace ttt::cuda
