// SPDX-License-Identifier: Apache-2.0
// Owners of what the CUDA runtime hands out, and the arena that all device memory of a backend comes from.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include "cuda/cuda_check.h"

namespace ttt::cuda {

// Device memory in one piece. What is wanted is taken twice, in the same order: first to measure, when take()
// gives null, and after allocate() in earnest.
class DeviceArena {
 public:
  template <typename T>
  T* take(std::size_t count) {
    const std::size_t begin = used_;
    used_ += (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_.get() + begin);
  }
  std::size_t used() const { return used_; }
  bool is_measuring() const { return memory_ == nullptr; }

  // False where the device has not so much memory.
  bool allocate() {
    void* memory = nullptr;
    const cudaError_t error = cudaMalloc(&memory, used_);
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // it is reported here
      return false;
    }
    check(error, "allocation of device memory");
    memory_.reset(static_cast<std::byte*>(memory));
    used_ = 0;
    return true;
  }

 private:
  static constexpr std::size_t kAlignment = 256;

  struct Free {
    void operator()(std::byte* memory) const { cudaFree(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::size_t used_ = 0;
};

// Host memory that the device reads and writes by itself.
template <typename T>
class PinnedArray {
 public:
  explicit PinnedArray(std::size_t size = 0) { allocate(size); }

  T* data() { return data_.get(); }
  T& operator[](std::size_t i) { return data_.get()[i]; }
  std::size_t size() const { return size_; }
  std::span<T> span() { return {data_.get(), size_}; }

  // What it held is gone where it grows. Throws, std::bad_alloc where the host has not so much, and is as it
  // was.
  void grow_to(std::size_t size) {
    if (size > size_) allocate(size);
  }

 private:
  void allocate(std::size_t size) {
    if (size == 0) return;
    void* memory = nullptr;
    const cudaError_t error = cudaMallocHost(&memory, size * sizeof(T));
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // it is reported here
      throw std::bad_alloc();
    }
    check(error, "allocation of host memory");
    data_.reset(static_cast<T*>(memory));
    size_ = size;
  }

  struct Free {
    void operator()(T* memory) const { cudaFreeHost(memory); }
  };
  std::unique_ptr<T, Free> data_;
  std::size_t size_ = 0;
};

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creation of a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const { return stream_; }
  void synchronise() const { check(cudaStreamSynchronize(stream_), "work on the device"); }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace ttt::cuda
