// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cuda/kernels/elementwise.h"
#include "cuda/kernels/row_parts.cuh"
#include "cuda/kernels/weight_value.cuh"

namespace ttt::cuda {

constexpr float kLayerNormEpsilon = 1e-6F;  // of every LayerNorm in the model, whatever rms_norm_eps says

// A block per row.
template <typename Weights>
__global__ void embed(const EmbedParams p) {
  let_next_start();
  const RowEntry entry = p.rows[blockIdx.x];
  const std::size_t width = p.table.inputs;
  const Weights table(p.table);
  const std::size_t from = static_cast<std::size_t>(entry.token) * width;
  float* to = p.x + blockIdx.x * width;
  for (std::size_t i = threadIdx.x; i < width; i += blockDim.x) to[i] = table[from + i];
}

// A block per row.
template <int kCount>
__global__ void __launch_bounds__(kMostRowThreads) rms_norm(const RmsNormParams p) {
  TTT_DYNAMIC_SHARED(shared_bytes);
  let_next_start();
  for (unsigned i = kCount * threadIdx.x; i < p.width; i += kCount * blockDim.x) prefetch(p.weight + i);
  wait_for_previous();
  const std::size_t row = p.gather != nullptr ? p.gather[blockIdx.x].row : blockIdx.x;
  const float* const x = p.x + row * p.width;
  const std::size_t to = std::size_t{blockIdx.x} * p.width;
  const float scale = rms_scale<kCount>(x, p.width, p.epsilon, reinterpret_cast<float*>(shared_bytes));
  for (unsigned i = kCount * threadIdx.x; i < p.width; i += kCount * blockDim.x) {
    store_operands(p.out, to + i, rms_normed<kCount>(x, p.weight, i, scale));
  }
}

// A block per row. The variance takes a pass of its own: sums of squares would cancel.
template <int kCount>
__global__ void __launch_bounds__(kMostRowThreads) gated_norm(const GatedNormParams p) {
  TTT_DYNAMIC_SHARED(shared_bytes);
  let_next_start();
  for (unsigned i = kCount * threadIdx.x; i < p.width; i += kCount * blockDim.x) {
    prefetch(p.weight + i);
    prefetch(p.bias + i);
  }
  wait_for_previous();
  auto* scratch = reinterpret_cast<float*>(shared_bytes);
  const std::size_t at = std::size_t{blockIdx.x} * p.width;
  const auto count = static_cast<float>(p.width);
  const unsigned first = kCount * threadIdx.x, step = kCount * blockDim.x;
  float sum = 0.0F;
  for (unsigned i = first; i < p.width; i += step) {
    const Elements<kCount> x = load_operands<kCount>(p.x, at + i);
    TTT_UNROLL for (int e = 0; e < kCount; ++e) sum += x.at[e];
  }
  const float mean = block_sum(sum, scratch) / count;
  float squares = 0.0F;
  for (unsigned i = first; i < p.width; i += step) {
    const Elements<kCount> x = load_operands<kCount>(p.x, at + i);
    TTT_UNROLL for (int e = 0; e < kCount; ++e) {
      const float centred = x.at[e] - mean;
      squares = fmaf(centred, centred, squares);
    }
  }
  const float deviation = sqrtf(block_sum(squares, scratch) / count + kLayerNormEpsilon);
  for (unsigned i = first; i < p.width; i += step) {
    Elements<kCount> x = load_operands<kCount>(p.x, at + i);
    const Elements<kCount> gains = load_floats<kCount>(p.weight + i),
                           biases = load_floats<kCount>(p.bias + i);
    TTT_UNROLL for (int e = 0; e < kCount; ++e) {
      x.at[e] = fmaf((x.at[e] - mean) / deviation, gains.at[e], biases.at[e]);
    }
    if (p.gate != nullptr) {
      const Elements<kCount> gates = load_floats<kCount>(p.gate + at + i);
      TTT_UNROLL for (int e = 0; e < kCount; ++e) x.at[e] *= gelu(gates.at[e]);
    }
    store_operands(p.out, at + i, x);
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
  if (i < std::size_t{p.num_rows} * p.heads) p.alpha[i] = rate(p.alpha[i], p.bias[i % p.heads], p.scale);
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

__global__ void rope_operands(const RopeOperandsParams p) {
  const float* angles = angles_of_row(p.rope);
  const std::size_t at = std::size_t{blockIdx.x} * p.rope.width;
  for (unsigned i = 2 * threadIdx.x; i < p.rope.width; i += 2 * blockDim.x) {
    const Pair angle = pair_at(angles + i % p.rope.head_size);
    store_rotated(p, at + i, rotated(pair_at(p.rope.q + at + i), angle),
                  rotated(pair_at(p.rope.k + at + i), angle));
  }
}

}  // namespace ttt::cuda
