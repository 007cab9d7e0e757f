// SPDX-License-Identifier: Apache-2.0
// Parts of kernels on rows of activations, which elementwise.cuh, decode_pre_conv.cuh and token_operands.cuh
// share so that their bits are the same. Where a block has a whole row, kCount is the number of elements that
// a thread reads at once: 4, or 1 where 4 does not divide the width.
#pragma once

#include "cuda/kernels/activations.cuh"
#include "cuda/kernels/elementwise.h"
#include "cuda/kernels/operand_rows.cuh"
#include "cuda/kernels/reductions.cuh"
#include "cuda/kernels/threads_for.h"
#include "cuda/launch.cuh"

namespace ttt::cuda {

constexpr int kMostRowThreads = 1024;  // of a block that has a row

// A block per row, in which a thread reads `count` elements at once, and which starts early; shared memory:
// scratch of block_sum.
inline LaunchShape by_rows(std::uint32_t num_rows, std::uint32_t width, std::uint32_t count) {
  const std::uint32_t threads = threads_for(width / count, kMostRowThreads);
  return {num_rows, 1, threads, threads / kWarpLanes * sizeof(float), true};
}

// Of RMSNorm, for every thread of the block that has the row. scratch: a float for each warp.
template <int kCount>
TTT_DEVICE float rms_scale(const float* x, unsigned width, float epsilon, float* scratch) {
  float squares = 0.0F;
  for (unsigned i = kCount * threadIdx.x; i < width; i += kCount * blockDim.x) {
    const Elements<kCount> values = load_floats<kCount>(x + i);
    TTT_UNROLL for (int e = 0; e < kCount; ++e) squares = fmaf(values.at[e], values.at[e], squares);
  }
  const float mean_square = block_sum(squares, scratch) / static_cast<float>(width);
  return 1.0F / sqrtf(mean_square + epsilon);
}

template <int kCount>
TTT_DEVICE Elements<kCount> rms_normed(const float* x, const float* weight, unsigned i, float scale) {
  Elements<kCount> values = load_floats<kCount>(x + i);
  const Elements<kCount> gains = load_floats<kCount>(weight + i);
  TTT_UNROLL for (int e = 0; e < kCount; ++e) values.at[e] = values.at[e] * scale * gains.at[e];
  return values;
}

TTT_DEVICE float rate(float alpha, float bias, float scale) { return scale * sigmoid(alpha + bias); }

// Two neighbouring elements of a head.
struct Pair {
  float even, odd;
};

TTT_DEVICE Pair pair_at(const float* at) { return {at[0], at[1]}; }

TTT_DEVICE Pair rotated(Pair pair, Pair angle) {  // angle: cosine, sine
  return {fmaf(-pair.odd, angle.odd, pair.even * angle.even),
          fmaf(pair.even, angle.odd, pair.odd * angle.even)};
}

TTT_DEVICE void store_bf16(std::uint16_t* to, Pair pair) {
  *reinterpret_cast<std::uint32_t*>(to) = pack_bf16(pair.even, pair.odd);
}

// q and k rotated.
TTT_DEVICE void store_rotated(const RopeOperandsParams& p, std::size_t at, Pair q, Pair k) {
  const Pair v = pair_at(p.v + at);
  store_bf16(p.q + at, q);
  store_bf16(p.k + at, k);
  store_bf16(p.target + at, {v.even - k.even, v.odd - k.odd});
}

}  // namespace ttt::cuda
