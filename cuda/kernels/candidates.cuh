// SPDX-License-Identifier: Apache-2.0
// The order of logits: larger ones first, ties to the lowest id, NaN last.
#pragma once

#include <cmath>

#include "cuda/kernels/device.cuh"

namespace ttt::cuda {

struct Candidate {
  float logit;      // minus infinity for NaN
  std::int32_t id;  // -1: none
};

// Larger logits first, ties to the lowest id; no candidate last.
TTT_DEVICE bool is_before(const Candidate& a, const Candidate& b) {
  if (a.id < 0 || b.id < 0) return a.id >= 0 && b.id < 0;
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

TTT_DEVICE float ordered(float logit) { return logit == logit ? logit : -INFINITY; }

// Every thread gets the first of all. All threads of the block, whole warps, call it; scratch: one per warp.
TTT_DEVICE Candidate best_of_block(Candidate mine, Candidate* scratch) {
  const auto best_of_warp = [](Candidate best) {
    for (int mask = kWarp / 2; mask > 0; mask /= 2) {
      const Candidate other = {
          shuffle_xor(best.logit, mask),
          static_cast<std::int32_t>(shuffle_xor(static_cast<std::uint32_t>(best.id), mask))};
      if (is_before(other, best)) best = other;
    }
    return best;
  };
  const unsigned lane = threadIdx.x % kWarp;
  const Candidate of_warp = best_of_warp(mine);
  sync_block();  // scratch may still be read
  if (lane == 0) scratch[threadIdx.x / kWarp] = of_warp;
  sync_block();
  return best_of_warp(lane < blockDim.x / kWarp ? scratch[lane] : Candidate{0.0F, -1});
}

// The first candidate that comes after `previous` (any, where its id is -1). scratch: one per warp.
TTT_DEVICE Candidate next_best(const float* logits, unsigned vocab_size, Candidate previous,
                               Candidate* scratch) {
  constexpr unsigned kTogether = 4;  // reads that do not wait for one another
  Candidate best = {0.0F, -1};
  for (unsigned first = threadIdx.x; first < vocab_size; first += kTogether * blockDim.x) {
    float read[kTogether];
    TTT_UNROLL for (unsigned i = 0; i < kTogether; ++i) {
      const unsigned id = first + i * blockDim.x;
      read[i] = id < vocab_size ? logits[id] : 0.0F;
    }
    TTT_UNROLL for (unsigned i = 0; i < kTogether; ++i) {
      const unsigned id = first + i * blockDim.x;
      const Candidate candidate = {ordered(read[i]), static_cast<std::int32_t>(id)};
      if (id >= vocab_size || (previous.id >= 0 && !is_before(previous, candidate))) continue;
      if (is_before(candidate, best)) best = candidate;
    }
  }
  return best_of_block(best, scratch);
}

}  // namespace ttt::cuda
