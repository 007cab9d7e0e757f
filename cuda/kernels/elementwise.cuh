// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cuda/kernels/activations.cuh"
#include "cuda/kernels/device.cuh"
#include "cuda/kernels/elementwise.h"
#include "cuda/kernels/operand_rows.cuh"
#include "cuda/kernels/reductions.cuh"
#include "cuda/kernels/weight_value.cuh"

namespace ttt::cuda {

constexpr float kLayerNormEpsilon = 1e-6F;  // of every LayerNorm in the model, whatever rms_norm_eps says

// A block per row.
template <typename Weights>
__global__ void embed(const EmbedParams p) {
  const RowEntry entry = p.rows[blockIdx.x];
  const std::size_t width = p.table.inputs;
  const Weights table(p.table);
  const std::size_t from = static_cast<std::size_t>(entry.token) * width;
  float* to = p.x + blockIdx.x * width;
  for (std::size_t i = threadIdx.x; i < width; i += blockDim.x) to[i] = table[from + i];
}

// A block per row.
__global__ void rms_norm(const RmsNormParams p) {
  TTT_DYNAMIC_SHARED(shared_bytes);
  auto* scratch = reinterpret_cast<float*>(shared_bytes);
  const std::size_t row = p.gather != nullptr ? p.gather[blockIdx.x].row : blockIdx.x;
  const float* x = p.x + row * p.width;
  const std::size_t to = std::size_t{blockIdx.x} * p.width;
  float squares = 0.0F;
  for (unsigned i = threadIdx.x; i < p.width; i += blockDim.x) squares = fmaf(x[i], x[i], squares);
  const float mean_square = block_sum(squares, scratch) / static_cast<float>(p.width);
  const float scale = 1.0F / sqrtf(mean_square + p.epsilon);
  for (unsigned i = threadIdx.x; i < p.width; i += blockDim.x) {
    store_operand(p.out, to + i, x[i] * scale * p.weight[i]);
  }
}

// A block per row. The variance takes a pass of its own: sums of squares would cancel.
__global__ void gated_norm(const GatedNormParams p) {
  TTT_DYNAMIC_SHARED(shared_bytes);
  auto* scratch = reinterpret_cast<float*>(shared_bytes);
  const std::size_t at = std::size_t{blockIdx.x} * p.width;
  const auto count = static_cast<float>(p.width);
  float sum = 0.0F;
  for (unsigned i = threadIdx.x; i < p.width; i += blockDim.x) sum += load_operand(p.x, at + i);
  const float mean = block_sum(sum, scratch) / count;
  float squares = 0.0F;
  for (unsigned i = threadIdx.x; i < p.width; i += blockDim.x) {
    const float centred = load_operand(p.x, at + i) - mean;
    squares = fmaf(centred, centred, squares);
  }
  const float deviation = sqrtf(block_sum(squares, scratch) / count + kLayerNormEpsilon);
  for (unsigned i = threadIdx.x; i < p.width; i += blockDim.x) {
    const float zhat = (load_operand(p.x, at + i) - mean) / deviation;
    const float normed = fmaf(zhat, p.weight[i], p.bias[i]);
    store_operand(p.out, at + i, p.gate != nullptr ? normed * gelu(p.gate[at + i]) : normed);
  }
}

// A thread per element.
__global__ void add(const AddParams p) {
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < p.size) p.x[i] += p.y[i];
}

__global__ void silu_multiply(const SiluMultiplyParams p) {
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < p.size) store_operand(p.out, i, silu(p.gate[i]) * p.up[i]);
}

__global__ void rates(const RatesParams p) {
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < std::size_t{p.num_rows} * p.heads) p.alpha[i] = p.scale * sigmoid(p.alpha[i] + p.bias[i % p.heads]);
}

// Two neighbouring elements of a head.
struct Pair {
  float even, odd;
};

TTT_DEVICE Pair pair_at(const float* at) { return {at[0], at[1]}; }

TTT_DEVICE Pair rotated(Pair pair, Pair angle) {  // angle: cosine, sine
  return {fmaf(-pair.odd, angle.odd, pair.even * angle.even),
          fmaf(pair.even, angle.odd, pair.odd * angle.even)};
}

// The rotations of this block's row, by its place in the mini-batch: head_size / 2 pairs.
TTT_DEVICE const float* angles_of_row(const RopeParams& p) {
  const SegmentEntry segment = p.segments[p.rows[blockIdx.x].segment];
  const unsigned phase = (segment.phase + blockIdx.x - segment.first_row) % p.mini_batch_size;
  return p.table + std::size_t{phase} * p.head_size;
}

// A block per row, a thread per pair.
__global__ void rope(const RopeParams p) {
  const float* angles = angles_of_row(p);
  const std::size_t at = std::size_t{blockIdx.x} * p.width;
  for (unsigned i = 2 * threadIdx.x; i < p.width; i += 2 * blockDim.x) {
    const Pair angle = pair_at(angles + i % p.head_size);
    for (float* x : {p.q + at + i, p.k + at + i}) {
      const Pair pair = rotated(pair_at(x), angle);
      x[0] = pair.even;
      x[1] = pair.odd;
    }
  }
}

TTT_DEVICE void store_bf16(std::uint16_t* to, Pair pair) {
  *reinterpret_cast<std::uint32_t*>(to) = pack_bf16(pair.even, pair.odd);
}

__global__ void rope_operands(const RopeOperandsParams p) {
  const float* angles = angles_of_row(p.rope);
  const std::size_t at = std::size_t{blockIdx.x} * p.rope.width;
  for (unsigned i = 2 * threadIdx.x; i < p.rope.width; i += 2 * blockDim.x) {
    const Pair angle = pair_at(angles + i % p.rope.head_size);
    const Pair k = rotated(pair_at(p.rope.k + at + i), angle);
    const Pair v = pair_at(p.v + at + i);
    store_bf16(p.q + at + i, rotated(pair_at(p.rope.q + at + i), angle));
    store_bf16(p.k + at + i, k);
    store_bf16(p.target + at + i, {v.even - k.even, v.odd - k.odd});
  }
}

}  // namespace ttt::cuda
