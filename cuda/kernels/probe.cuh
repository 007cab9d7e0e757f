// SPDX-License-Identifier: Apache-2.0
// See probe.h.
#pragma once

#include "cuda/kernels/device.cuh"
#include "cuda/kernels/probe.h"

namespace ttt::cuda {

struct ProbeShape {
  static constexpr int kThreads = 256, kBlocks = 8;  // blocks for each multiprocessor
  static constexpr int kReads = 4;                   // of a thread at once
  static constexpr int kChains = 16, kRepeats = 8;   // multiply-adds of a round: so many that the loop's own
                                                     // instructions do not count
  static constexpr int kFragments = 8;               // chains of mma
  static constexpr int kMmaFlops = 2 * 16 * 8 * 16;
};

TTT_DEVICE std::size_t probe_thread() { return std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; }
TTT_DEVICE std::size_t all_probe_threads() { return std::size_t{gridDim.x} * blockDim.x; }

// Two numbers of fp16 that depend on i: either sign, 1 to 2.
TTT_DEVICE std::uint32_t probe_pair(std::size_t i) {
  std::uint32_t bits = static_cast<std::uint32_t>(i) * 2654435761U;
  bits = (bits ^ bits >> 15) * 2246822519U;
  return ((bits ^ bits >> 13) & 0x83FF83FFU) | 0x3C003C00U;
}

__global__ void __launch_bounds__(ProbeShape::kThreads) probe_fill(const ProbeFillParams p) {
  for (std::size_t i = probe_thread(); i < p.count; i += all_probe_threads()) p.pairs[i] = probe_pair(i);
}

__global__ void __launch_bounds__(ProbeShape::kThreads) probe_read(const ProbeReadParams p) {
  const auto* const from = static_cast<const uint4*>(p.from);
  const std::size_t stride = all_probe_threads();
  std::size_t i = probe_thread();
  std::uint32_t bits = 0;
  const auto take = [&](const uint4& chunk) { bits |= chunk.x | chunk.y | chunk.z | chunk.w; };
  for (; i + (ProbeShape::kReads - 1) * stride < p.chunks; i += ProbeShape::kReads * stride) {
    uint4 chunks[ProbeShape::kReads];
    TTT_UNROLL for (int read = 0; read < ProbeShape::kReads; ++read) chunks[read] = from[i + read * stride];
    TTT_UNROLL for (int read = 0; read < ProbeShape::kReads; ++read) take(chunks[read]);
  }
  for (; i < p.chunks; i += stride) take(from[i]);
  p.sink[probe_thread()] = bits;
}

__global__ void __launch_bounds__(ProbeShape::kThreads) probe_multiply_add(const ProbeMultiplyParams p) {
  float chains[ProbeShape::kChains];
  TTT_UNROLL for (int chain = 0; chain < ProbeShape::kChains; ++chain) {
    chains[chain] = static_cast<float>(chain + threadIdx.x);  // different: equal ones would be merged
  }
  TTT_NO_UNROLL for (int round = 0; round < p.rounds; ++round) {
    TTT_UNROLL for (int repeat = 0; repeat < ProbeShape::kRepeats; ++repeat) {
      TTT_UNROLL for (int chain = 0; chain < ProbeShape::kChains; ++chain) {
        chains[chain] = fmaf(chains[chain], 0.999F, 0.001F);
      }
    }
  }
  float sum = 0.0F;
  TTT_UNROLL for (int chain = 0; chain < ProbeShape::kChains; ++chain) sum += chains[chain];
  p.sink[probe_thread()] = float_bits(sum);
}

__global__ void __launch_bounds__(ProbeShape::kThreads) probe_mma(const ProbeMultiplyParams p) {
  const std::size_t first = 8 * probe_thread();
  const std::uint32_t a[4] = {probe_pair(first), probe_pair(first + 1), probe_pair(first + 2),
                              probe_pair(first + 3)};
  const std::uint32_t b0 = probe_pair(first + 4), b1 = probe_pair(first + 5);
  float sums[ProbeShape::kFragments][4] = {};
  TTT_NO_UNROLL for (int round = 0; round < p.rounds; ++round) {
    TTT_UNROLL for (int fragment = 0; fragment < ProbeShape::kFragments; ++fragment) {
      mma_half(sums[fragment], a, b0, b1);
    }
  }
  float sum = 0.0F;
  TTT_UNROLL for (int fragment = 0; fragment < ProbeShape::kFragments; ++fragment) {
    TTT_UNROLL for (int e = 0; e < 4; ++e) sum += sums[fragment][e];
  }
  p.sink[probe_thread()] = float_bits(sum);
}

}  // namespace ttt::cuda
