// SPDX-License-Identifier: Apache-2.0
// What the exact inner loops of both kinds of inner model share. All functions are called by every thread of
// a block; where one reads what other threads wrote, the caller puts sync_block() between.
#pragma once

#include "cuda/kernels/device.cuh"
#include "cuda/kernels/inner_loop_exact.h"
#include "cuda/kernels/reductions.cuh"

namespace ttt::cuda {

constexpr unsigned kMaxRunRows = 16;
constexpr unsigned kInnerSharedFloats = 12 * 1024 - 64;  // 48 KiB is granted without asking
constexpr float kInnerNormEpsilon = 1e-6F;

// Rows, `stride` floats apart.
struct ConstRows {
  const float* at;
  std::size_t stride;
  TTT_DEVICE const float* row(unsigned r) const { return at + r * stride; }
};
struct MutableRows {
  float* at;
  std::size_t stride;
  TTT_DEVICE float* row(unsigned r) const { return at + r * stride; }
  TTT_DEVICE operator ConstRows() const { return {at, stride}; }
};

// One head of one segment.
struct InnerHead {
  float *W1, *b1;  // [f, m'], [m']
  float *W2, *b2;  // [m', f], [f] (MLP)
  // Open rows, K of them
  MutableRows key;                       // [f]
  MutableRows hidden;                    // [m'] (MLP)
  MutableRows gradient_1;                // [m']
  MutableRows gradient_2;                // [f] (MLP)
  const float *norm_weight, *norm_bias;  // [f]
};

TTT_DEVICE InnerHead inner_head(const InnerLoopParams& p, const SegmentEntry& segment, unsigned head,
                                bool is_mlp) {
  const std::size_t f = p.head_size, inner = p.inner_size, heads = p.heads;
  InnerHead result = {};
  float* at = segment.state + p.fast_weights;
  const auto take = [&](std::size_t floats_per_head) {
    float* part = at + head * floats_per_head;
    at += heads * floats_per_head;
    return part;
  };
  result.W1 = take(f * inner);
  result.b1 = take(inner);
  if (is_mlp) result.W2 = take(inner * f);
  if (is_mlp) result.b2 = take(f);
  at = segment.state + p.open_rows;
  const std::size_t stride = p.open_row_stride;
  result.key = {take(f), stride};
  if (is_mlp) result.hidden = {take(inner), stride};
  result.gradient_1 = {take(inner), stride};
  if (is_mlp) result.gradient_2 = {take(f), stride};
  result.norm_weight = p.norm_weight + head * f;
  result.norm_bias = p.norm_bias + head * f;
  return result;
}

// A matrix [in, columns] read by element: W(i, c) = at[i * in_step + c * column_step].
struct Weights {
  const float* at;
  std::size_t in_step, column_step;
};

constexpr unsigned kProductRows = 4;  // of a thread: they share each weight that it reads

// finish(r, c, sum) for every row r and column c, sum = sum over i < in of x(r, i) * W(i, c), in order.
template <typename Finish>
TTT_DEVICE void for_each_product(ConstRows x, unsigned num_rows, unsigned in, Weights w, unsigned columns,
                                 Finish finish) {
  const unsigned tiles = (num_rows + kProductRows - 1) / kProductRows;
  for (unsigned item = threadIdx.x; item < tiles * columns; item += blockDim.x) {
    const unsigned c = item % columns;
    const unsigned first = item / columns * kProductRows;
    const float* weight = w.at + c * w.column_step;
    float sums[kProductRows] = {};
    for (unsigned i = 0; i < in; ++i) {
      const float value = weight[i * w.in_step];
      for (unsigned r = 0; r < kProductRows; ++r) {
        if (first + r < num_rows) sums[r] = fmaf(x.row(first + r)[i], value, sums[r]);
      }
    }
    for (unsigned r = 0; r < kProductRows; ++r) {
      if (first + r < num_rows) finish(first + r, c, sums[r]);
    }
  }
}

// out = x W + b, W [in, columns]
TTT_DEVICE void affine(ConstRows x, unsigned num_rows, unsigned in, const float* w, const float* b,
                       unsigned columns, MutableRows out) {
  for_each_product(x, num_rows, in, {w, columns, 1}, columns,
                   [&](unsigned r, unsigned c, float sum) { out.row(r)[c] = sum + b[c]; });
}

// scores(r, j) = x(r) . keys(j) + 1 of the open rows j < count. Row r reads those up to its own place.
TTT_DEVICE void score_open_rows(ConstRows x, unsigned num_rows, unsigned count, ConstRows keys, unsigned size,
                                MutableRows scores) {
  for_each_product(x, num_rows, size, {keys.at, 1, keys.stride}, count,
                   [&](unsigned r, unsigned j, float sum) { scores.row(r)[j] = sum + 1.0F; });
}

// out(r) -= eta[r] * sum_{j <= phase + r} scores(r, j) gradients(j): row r stands in place phase + r.
TTT_DEVICE void subtract_open_rows(ConstRows scores, unsigned num_rows, unsigned phase, ConstRows gradients,
                                   unsigned columns, const float* eta, MutableRows out) {
  for (unsigned item = threadIdx.x; item < num_rows * columns; item += blockDim.x) {
    const unsigned r = item / columns, c = item % columns;
    float sum = 0.0F;
    for (unsigned j = 0; j <= phase + r; ++j) sum = fmaf(scores.row(r)[j], gradients.row(j)[c], sum);
    out.row(r)[c] = fmaf(-eta[r], sum, out.row(r)[c]);
  }
}

// W [in, columns] -= eta * sum_{j < count} keys(j)^T gradients(j),  b -= eta * sum_j gradients(j)
TTT_DEVICE void commit_rows(ConstRows keys, unsigned in, ConstRows gradients, unsigned columns,
                            unsigned count, float eta, float* w, float* b) {
  for (unsigned item = threadIdx.x; item < in * columns; item += blockDim.x) {
    const unsigned i = item / columns, c = item % columns;
    float sum = 0.0F;
    for (unsigned j = 0; j < count; ++j) sum = fmaf(keys.row(j)[i], gradients.row(j)[c], sum);
    w[item] = fmaf(-eta, sum, w[item]);
  }
  for (unsigned c = threadIdx.x; c < columns; c += blockDim.x) {
    float sum = 0.0F;
    for (unsigned j = 0; j < count; ++j) sum += gradients.row(j)[c];
    b[c] = fmaf(-eta, sum, b[c]);
  }
}

// z becomes (z - mean) / s; returns s = sqrt(var + epsilon). By one warp, each lane its own elements.
TTT_DEVICE float normalise(float* z, unsigned size, unsigned lane) {
  const auto count = static_cast<float>(size);
  float sum = 0.0F;
  for (unsigned i = lane; i < size; i += kWarpLanes) sum += z[i];
  const float mean = warp_sum(sum) / count;
  float squares = 0.0F;
  for (unsigned i = lane; i < size; i += kWarpLanes) {
    z[i] -= mean;
    squares = fmaf(z[i], z[i], squares);
  }
  const float s = sqrtf(warp_sum(squares) / count + kInnerNormEpsilon);
  for (unsigned i = lane; i < size; i += kWarpLanes) z[i] /= s;
  return s;
}

// The rows of a run, a warp for each: gradient(r) = alpha(r) * dLoss/dz at z(r), with
// Loss = 1/2 |N(z) - (v - k)|^2,  e = gain * (N(z) - (v - k)),  dLoss/dz = (e - mean(e) - zhat mean(e zhat))
// / s. z is overwritten. losses may be null.
struct LearnRows {
  MutableRows z;       // [f], shared
  ConstRows k, v;      // [f]
  const float* alpha;  // alpha_stride apart
  std::size_t alpha_stride;
  float* losses;  // losses_stride apart
  std::size_t losses_stride;
};
TTT_DEVICE void learn_rows(const LearnRows& rows, unsigned num_rows, const InnerHead& head, unsigned f,
                           MutableRows gradient) {
  const unsigned lane = threadIdx.x % kWarpLanes;
  const auto count = static_cast<float>(f);
  for (unsigned r = threadIdx.x / kWarpLanes; r < num_rows; r += blockDim.x / kWarpLanes) {
    float* zhat = rows.z.row(r);
    const float* k = rows.k.row(r);
    const float* v = rows.v.row(r);
    float* g = gradient.row(r);
    const float s = normalise(zhat, f, lane);
    float squares = 0.0F, sum_e = 0.0F, sum_e_zhat = 0.0F;
    for (unsigned i = lane; i < f; i += kWarpLanes) {
      const float gain = head.norm_weight[i];
      const float difference = fmaf(zhat[i], gain, head.norm_bias[i]) - (v[i] - k[i]);
      const float e = difference * gain;
      squares = fmaf(difference, difference, squares);
      sum_e += e;
      sum_e_zhat = fmaf(e, zhat[i], sum_e_zhat);
      g[i] = e;
    }
    const float mean_e = warp_sum(sum_e) / count;
    const float mean_e_zhat = warp_sum(sum_e_zhat) / count;
    const float alpha = rows.alpha[r * rows.alpha_stride];
    for (unsigned i = lane; i < f; i += kWarpLanes) {
      g[i] = fmaf(-zhat[i], mean_e_zhat, g[i] - mean_e) / s * alpha;
    }
    if (rows.losses == nullptr) continue;
    const float loss = 0.5F * warp_sum(squares);
    if (lane == 0) rows.losses[r * rows.losses_stride] = loss;
  }
}

// out(r) = q(r) + N(z(r)); z is overwritten.
TTT_DEVICE void write_outputs(MutableRows z, ConstRows q, unsigned num_rows, const InnerHead& head,
                              unsigned f, MutableRows out) {
  const unsigned lane = threadIdx.x % kWarpLanes;
  for (unsigned r = threadIdx.x / kWarpLanes; r < num_rows; r += blockDim.x / kWarpLanes) {
    float* zhat = z.row(r);
    normalise(zhat, f, lane);
    for (unsigned i = lane; i < f; i += kWarpLanes) {
      out.row(r)[i] = q.row(r)[i] + fmaf(zhat[i], head.norm_weight[i], head.norm_bias[i]);
    }
  }
}

TTT_DEVICE void copy_rows(ConstRows from, unsigned num_rows, unsigned size, MutableRows to) {
  for (unsigned item = threadIdx.x; item < num_rows * size; item += blockDim.x) {
    to.row(item / size)[item % size] = from.row(item / size)[item % size];
  }
}

// A run: rows [first, first + num_rows) of the segment, which stand in places `phase` on of one mini-batch.
struct InnerRun {
  unsigned first, num_rows, phase;
  ConstRows q, k, v;  // this head's columns of the rows, in global memory
  MutableRows out;
  LearnRows learn;  // but for z, which is the kernel's
};

TTT_DEVICE InnerRun inner_run(const InnerLoopParams& p, const SegmentEntry& segment, unsigned head,
                              unsigned first) {
  InnerRun run = {};
  run.first = first;
  run.phase = (segment.phase + first) % p.mini_batch_size;
  run.num_rows = segment.num_rows - first;
  if (run.num_rows > p.mini_batch_size - run.phase) run.num_rows = p.mini_batch_size - run.phase;
  if (run.num_rows > p.rows_per_run) run.num_rows = p.rows_per_run;
  const std::size_t width = std::size_t{p.heads} * p.head_size;
  const std::size_t row = segment.first_row + first;
  const std::size_t at = row * width + head * p.head_size;
  run.q = {p.q + at, width};
  run.k = {p.k + at, width};
  run.v = {p.v + at, width};
  run.out = {p.out + at, width};
  run.learn.k = run.k;
  run.learn.v = run.v;
  run.learn.alpha = p.alpha + row * p.heads + head;
  run.learn.alpha_stride = p.heads;
  run.learn.losses_stride = std::size_t{p.num_layers} * p.heads;
  if (segment.wants_losses != 0) {
    run.learn.losses = p.losses + row * run.learn.losses_stride + p.layer * p.heads + head;
  }
  return run;
}

TTT_DEVICE MutableRows open_rows_from(MutableRows rows, unsigned first) {
  return {rows.row(first), rows.stride};
}

}  // namespace ttt::cuda
