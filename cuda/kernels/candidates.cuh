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

// The first candidate that comes after `previous` (any, where its id is -1). scratch: one per thread.
TTT_DEVICE Candidate next_best(const float* logits, unsigned vocab_size, Candidate previous,
                               Candidate* scratch) {
  Candidate best = {0.0F, -1};
  for (unsigned id = threadIdx.x; id < vocab_size; id += blockDim.x) {
    const Candidate candidate = {ordered(logits[id]), static_cast<std::int32_t>(id)};
    if (previous.id >= 0 && !is_before(previous, candidate)) continue;
    if (is_before(candidate, best)) best = candidate;
  }
  sync_block();  // scratch may still be read
  scratch[threadIdx.x] = best;
  sync_block();
  for (unsigned thread = 0; thread < blockDim.x; ++thread) {
    if (is_before(scratch[thread], best)) best = scratch[thread];
  }
  return best;
}

}  // namespace ttt::cuda
