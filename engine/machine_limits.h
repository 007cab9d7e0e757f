// SPDX-License-Identifier: Apache-2.0
// What a machine can do at best, measured: beside engine/step_cost.h's counts, the least time of a step.
#pragma once

#include <algorithm>

namespace ttt {

// 0: not measured. A multiply-add is two operations.
struct MachineLimits {
  double read_bytes_per_second = 0.0;  // of memory, far beyond every cache
  double flops_per_second = 0.0;       // fp32
  // Products of 8-bit integers, as a processor multiplies quantised weights.
  double int8_ops_per_second = 0.0;
  // Products of 16-bit numbers with sums in fp32, on a GPU's tensor cores.
  double half_flops_per_second = 0.0;
};

// The better reading of each.
inline MachineLimits best_of(const MachineLimits& a, const MachineLimits& b) {
  return {.read_bytes_per_second = std::max(a.read_bytes_per_second, b.read_bytes_per_second),
          .flops_per_second = std::max(a.flops_per_second, b.flops_per_second),
          .int8_ops_per_second = std::max(a.int8_ops_per_second, b.int8_ops_per_second),
          .half_flops_per_second = std::max(a.half_flops_per_second, b.half_flops_per_second)};
}

class MachineProbe {
 public:
  virtual ~MachineProbe() = default;
  MachineProbe(const MachineProbe&) = delete;
  MachineProbe& operator=(const MachineProbe&) = delete;

  // One reading of each limit that the machine has; some ten milliseconds. REQUIRES: no batch in flight.
  virtual MachineLimits measure() = 0;

 protected:
  MachineProbe() = default;
};

}  // namespace ttt
