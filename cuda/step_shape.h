// SPDX-License-Identifier: Apache-2.0
// What the kernels of a decode step and their parameters depend on: everything else that differs from step to
// step lies in tables, whose places in memory never change.
#pragma once

#include <cstddef>

namespace ttt::cuda {

struct StepShape {
  std::size_t num_segments = 0;  // of one token each
  std::size_t num_outputs = 0;   // rows that pass the output head
  std::size_t num_draws = 0;     // of the device

  bool operator==(const StepShape&) const = default;
};

}  // namespace ttt::cuda
