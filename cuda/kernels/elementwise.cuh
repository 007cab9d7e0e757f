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

TTT_DEVICE void rotate(float* pair, float cosine, float sine) {
  const float even = pair[0];
  const float odd = pair[1];
  pair[0] = fmaf(-odd, sine, even * cosine);
  pair[1] = fmaf(even, sine, odd * cosine);
}

// A block per row, a thread per pair.
__global__ void rope(const RopeParams p) {
  const SegmentEntry segment = p.segments[p.rows[blockIdx.x].segment];
  const unsigned phase = (segment.phase + blockIdx.x - segment.first_row) % p.mini_batch_size;
  const float* angles = p.table + std::size_t{phase} * p.head_size;
  const std::size_t at = std::size_t{blockIdx.x} * p.width;
  for (unsigned i = 2 * threadIdx.x; i < p.width; i += 2 * blockDim.x) {
    const float cosine = angles[i % p.head_size];
    const float sine = angles[i % p.head_size + 1];
    rotate(p.q + at + i, cosine, sine);
    rotate(p.k + at + i, cosine, sine);
  }
}

}  // namespace ttt::cuda
