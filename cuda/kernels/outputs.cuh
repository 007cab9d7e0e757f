// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "cuda/kernels/candidates.cuh"
#include "cuda/kernels/device.cuh"
#include "cuda/kernels/outputs.h"

namespace ttt::cuda {

// Below it exp(x) leaves fp32's range: it is taken for exp(-87). NaN, too.
constexpr float kLowestExponent = -87.0F;

// Every thread gets the sum, which is first added up within each warp. scratch: one per thread (those of a
// lane together: threads that add up read different banks), then one per warp.
TTT_DEVICE double block_sum(double mine, double* scratch) {
  const unsigned warps = blockDim.x / kWarp;
  double* const of_warps = scratch + blockDim.x;
  sync_block();  // scratch may still be read
  scratch[threadIdx.x % kWarp * warps + threadIdx.x / kWarp] = mine;
  sync_block();
  if (threadIdx.x < warps) {
    double sum = 0.0;
    for (unsigned lane = 0; lane < kWarp; ++lane) sum += scratch[lane * warps + threadIdx.x];
    of_warps[threadIdx.x] = sum;
  }
  sync_block();
  double total = 0.0;
  for (unsigned warp = 0; warp < warps; ++warp) total += of_warps[warp];
  return total;
}

// log(sum(exp(logits))), in double from the differences to the largest. scratch: as of block_sum.
TTT_DEVICE double log_sum_exp(const float* logits, unsigned vocab_size, float largest, double* scratch) {
  double sum = 0.0;
  for (unsigned id = threadIdx.x; id < vocab_size; id += blockDim.x) {
    const float difference = logits[id] - largest;
    sum += static_cast<double>(expf(difference > kLowestExponent ? difference : kLowestExponent));
  }
  return static_cast<double>(largest) + log(block_sum(sum, scratch));
}

TTT_DEVICE float log_prob(const float* logits, std::int32_t id, double normaliser) {
  return static_cast<float>(static_cast<double>(logits[id]) - normaliser);
}

constexpr int kMostOutputThreads = 1024;

// A block per row. Shared memory: scratch of block_sum, for one reduction after the other.
__global__ void __launch_bounds__(kMostOutputThreads) outputs(const OutputsParams p) {
  TTT_DYNAMIC_SHARED(shared_bytes);
  auto* shared = reinterpret_cast<double*>(shared_bytes);
  auto* candidates = reinterpret_cast<Candidate*>(shared);
  let_next_start();
  const OutputEntry row = p.rows[blockIdx.x];
  wait_for_previous();
  const float* logits = p.logits + std::size_t{blockIdx.x} * p.vocab_size;
  Candidate best = next_best(logits, p.vocab_size, {0.0F, -1}, candidates);
  const double normaliser = log_sum_exp(logits, p.vocab_size, best.logit, shared);
  if (row.normaliser != nullptr && threadIdx.x == 0) *row.normaliser = normaliser;
  if (row.greedy != nullptr && threadIdx.x == 0)
    *row.greedy = {best.id, log_prob(logits, best.id, normaliser)};
  for (unsigned t = threadIdx.x; t < row.num_targets; t += blockDim.x) {
    row.target_log_probs[t] = log_prob(logits, row.targets[t], normaliser);
  }
  for (unsigned n = 0; n < row.top_n; ++n) {
    if (n > 0) best = next_best(logits, p.vocab_size, best, candidates);
    if (threadIdx.x == 0) row.top[n] = {best.id, log_prob(logits, best.id, normaliser)};
  }
}

}  // namespace ttt::cuda
