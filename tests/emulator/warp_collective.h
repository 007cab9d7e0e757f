// SPDX-License-Identifier: Apache-2.0
// What the collectives of a warp are made of: each lane deposits words, waits for the others, and reads
// theirs.
#pragma once

#include <block_emulator.h>

namespace ttt::emulator {

inline constexpr unsigned kMostLaneWords = 6;
using LaneWords = std::uint32_t[kWarpSize][kMostLaneWords];

// Returns the words of all lanes; they stay until the lane enters the collective after the next.
LaneWords& enter_collective(const char* collective, const std::uint32_t* words, unsigned count,
                            const Site& site, bool orders_memory);

}  // namespace ttt::emulator
