// SPDX-License-Identifier: Apache-2.0
// What a test sets of the emulated CUDA runtime; what it counts: tests/runtime_calls.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>
#include <vector>

namespace ttt::emulator {

struct DeviceDescription {
  std::string name = "emulated device";
  int major = 9, minor = 0;
  std::size_t memory_bytes = std::size_t{4} << 30;
  std::size_t shared_bytes_per_block = 227 << 10;  // compute capability 8.6 and 8.9: 99 << 10
  int cache_bytes = 64 << 10;                      // L2
  // What is answered when it is asked for its properties or its memory, or chosen, which makes its context.
  cudaError_t properties_error = cudaSuccess;
  cudaError_t memory_error = cudaSuccess;
  cudaError_t choice_error = cudaSuccess;
  cudaError_t code_error = cudaSuccess;  // when a kernel is asked for its attributes or launched
};

// Installs these devices; no memory may be allocated. None: a driver that finds no device.
void set_devices(std::vector<DeviceDescription> devices);

struct DriverDescription {
  // As cudaDriverGetVersion() says it; 0: no driver. One of an older major version than the runtime's is too
  // old for it.
  int version = CUDART_VERSION;
  cudaError_t error = cudaSuccess;  // what is answered when devices are counted
};
void set_driver(const DriverDescription& driver);

// As if cudaSetDevice did nothing: every thread stays with the device that it has.
void keep_first_device(bool keep);

std::size_t allocated_bytes();

// The n-th allocation (launch) from now fails, once; 0: none. To create a stream or make a graph executable
// is an allocation too; a launch in a capture is one, and so is that of a graph.
void fail_allocation(int n);
void fail_launch(int n);
// The n-th kernel from now, also of a graph, is accepted and fails when it runs: the error stays with the
// device, as in CUDA, until reset_errors().
void fail_kernel(int n);
// Whether cudaSetDevice() says nothing of such an error; CUDA does not promise that it does.
void hide_fault_from_choice(bool hide);
void reset_errors();

}  // namespace ttt::emulator
