// SPDX-License-Identifier: Apache-2.0
// A CUDA call that fails becomes an exception.
#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace ttt::cuda {

class CudaError : public std::runtime_error {
 public:
  CudaError(const std::string& text, cudaError_t error) : std::runtime_error(text), error_(error) {}
  cudaError_t error() const { return error_; }

 private:
  cudaError_t error_;
};

// `what` says what was being done: "CUDA: <what>: out of memory (cudaErrorMemoryAllocation)".
inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw CudaError(
      std::string("CUDA: ") + what + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")",
      error);
}

}  // namespace ttt::cuda
