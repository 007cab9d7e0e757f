// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "cuda/cuda_check.h"

namespace ttt::test {

// An array on the device.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : count_(values.size()) {
    cuda::check(cudaMalloc(reinterpret_cast<void**>(&memory_), std::max<std::size_t>(bytes(), 1)),
                "an array");
    if (count_ > 0)
      cuda::check(cudaMemcpy(memory_, values.data(), bytes(), cudaMemcpyHostToDevice), "an array");
  }
  ~DeviceArray() { cudaFree(memory_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return memory_; }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    if (count_ > 0)
      cuda::check(cudaMemcpy(values.data(), memory_, bytes(), cudaMemcpyDeviceToHost), "an array");
    return values;
  }

 private:
  std::size_t bytes() const { return count_ * sizeof(T); }
  std::size_t count_;
  T* memory_ = nullptr;
};

}  // namespace ttt::test
