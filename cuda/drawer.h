// SPDX-License-Identifier: Apache-2.0
// Who takes the next token from a row of logits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/batch.h"

namespace ttt::cuda {

enum class Drawer : std::uint8_t {
  kNobody,
  kLargest,  // the kernel for small results: nothing but the largest logit counts
  kDevice,   // the kernel that draws
  kHost      // engine/sampler
};

inline constexpr std::size_t kMostListed = 1024;  // counts, and bans, of a sequence that the device draws for

Drawer drawer_of(const Wanted& wanted, std::size_t vocab_size);

// Those that penalties look at. REQUIRES: a token is wanted.
std::span<const TokenCount> counts_that_matter(const Wanted& wanted);

}  // namespace ttt::cuda
