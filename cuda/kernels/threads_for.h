// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace ttt::cuda {

// Threads of a block that shares `count` elements: whole warps, `most` at most. It depends on the shape of
// the model alone, as sums over a block do.
inline std::uint32_t threads_for(std::size_t count, std::size_t most = 256) {
  constexpr std::size_t kWarpThreads = 32;
  const std::size_t rounded = (count + kWarpThreads - 1) / kWarpThreads * kWarpThreads;
  const std::size_t threads = rounded < kWarpThreads ? kWarpThreads : rounded;
  return static_cast<std::uint32_t>(threads < most ? threads : most);
}

}  // namespace ttt::cuda
