// SPDX-License-Identifier: Apache-2.0
// Kernels that do nothing but reach a limit of the device: reading memory, multiplying in registers.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace ttt::cuda {

// What CUDA says when it looks for a kernel's code for the current device: all are built for the same
// devices.
cudaError_t look_for_code();

// Threads of every launch on the current device; each writes a word of a sink, so that its work is done.
std::size_t num_probe_threads();

// Pairs of fp16 numbers of either sign from 1 to 2, no two neighbours alike: zeros would cost a multiplier
// less power, and so seem faster.
struct ProbeFillParams {
  std::uint32_t* pairs = nullptr;
  std::size_t count = 0;
};
void launch_probe_fill(const ProbeFillParams& params, cudaStream_t stream);

// Reads a buffer once, 16 bytes at a time.
struct ProbeReadParams {
  const void* from = nullptr;  // a multiple of 16 bytes
  std::size_t chunks = 0;      // of 16 bytes
  std::uint32_t* sink = nullptr;
};
void launch_probe_read(const ProbeReadParams& params, cudaStream_t stream);

// Independent chains of multiply-adds: of fp32 numbers, or of fragments of 16 bits on tensor cores. Return
// the floating-point operations of the launch.
struct ProbeMultiplyParams {
  int rounds = 0;
  std::uint32_t* sink = nullptr;
};
double launch_probe_multiply_add(const ProbeMultiplyParams& params, cudaStream_t stream);
double launch_probe_mma(const ProbeMultiplyParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
