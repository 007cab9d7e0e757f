// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace ttt::cuda {

// Threads of a block that shares `count` elements: whole warps, 256 at most. It depends on the shape of the
// model alone, as sums over a block do.
inline std::uint32_t threads_for(std::size_t count) {
  constexpr std::size_t kWarpThreads = 32, kMostThreads = 256;
  const std::size_t rounded = (count + kWarpThreads - 1) / kWarpThreads * kWarpThreads;
  const std::size_t threads = rounded < kWarpThreads ? kWarpThreads : rounded;
  return static_cast<std::uint32_t>(threads < kMostThreads ? threads : kMostThreads);
}

}  // namespace ttt::cuda
