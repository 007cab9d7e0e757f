// SPDX-License-Identifier: Apache-2.0
// What this machine can do at best, measured by as many threads as a backend has: the limits beside which
// speeds are reported.
#pragma once

#include <cstddef>
#include <vector>

#include "cpu/large_buffer.h"
#include "cpu/thread_pool.h"
#include "engine/machine_limits.h"

namespace ttt::cpu {

// Reads `count` floats once, from end to end, less what is no whole four vectors. `sink` gets a value that
// depends on them, so that they are really read.
void read_plainly(const float* from, std::size_t count, float* sink);

// Twelve independent chains of `rounds` fused multiply-adds of a vector each, in registers. Returns the
// floating-point operations: a multiply-add of one lane is two.
double multiply_add_plainly(std::size_t rounds, float* sink);

// Ten chains of products of 8-bit integers, added to 32 bits, by the best instructions that the target is
// compiled for. Returns the operations: a product and its addition are two.
double multiply_int8_plainly(std::size_t rounds, float* sink);

class MachineProbe final : public ttt::MachineProbe {
 public:
  // Holds a buffer of `read_bytes`, of which each thread touches its part first, as it does with weights.
  // Throws std::bad_alloc.
  MachineProbe(std::size_t num_threads, std::size_t read_bytes);

  MachineLimits measure() override;

  // One reading each, of the kernels' target (cpu/dispatch.h). Reads the whole buffer, a small one a few
  // times and counts the best: a single pass of some milliseconds may be one in which something else ran.
  double read_bytes_per_second();
  double flops_per_second();     // fp32; some ten milliseconds
  double int8_ops_per_second();  // likewise

 private:
  double rate_of(double (*compute)(std::size_t rounds, float* sink), std::size_t rounds);
  float* floats() const { return reinterpret_cast<float*>(buffer_.get()); }

  ThreadPool pool_;
  std::size_t num_floats_;
  LargeBuffer buffer_;
  std::vector<float> sinks_;  // one cache line for each thread
};

}  // namespace ttt::cpu
