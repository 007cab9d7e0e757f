// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cuda/kernels/conv.h"
#include "cuda/kernels/device.cuh"

namespace ttt::cuda {

// Blocks (row, group of channels), a thread per channel.
__global__ void depthwise_conv(const ConvParams p) {
  const unsigned channel = blockIdx.y * blockDim.x + threadIdx.x;
  if (channel >= p.width) return;
  const std::size_t width = p.width;
  const SegmentEntry segment = p.segments[p.rows[blockIdx.x].segment];
  const float* history = segment.state + p.history + channel;
  const float* x = p.x + segment.first_row * width + channel;
  const unsigned history_rows = p.taps - 1 + segment.phase;
  float sum = p.bias[channel];
  for (unsigned tap = 0; tap < p.taps; ++tap) {
    // Row of (history, x): the last tap multiplies the current token.
    const unsigned from = history_rows + blockIdx.x - segment.first_row + tap - (p.taps - 1);
    const float input = from < history_rows ? history[from * width] : x[(from - history_rows) * width];
    sum = fmaf(p.weight[tap * width + channel], input, sum);
  }
  p.y[blockIdx.x * width + channel] = sum;
}

// Blocks (segment, group of channels). A thread moves the rows of its channel in ascending order: none is
// written before it was read.
__global__ void advance_history(const AdvanceParams p) {
  const unsigned channel = blockIdx.y * blockDim.x + threadIdx.x;
  if (channel >= p.width) return;
  const std::size_t width = p.width;
  const SegmentEntry segment = p.segments[blockIdx.x];
  float* history = segment.state + p.history + channel;
  const float* x = p.x + segment.first_row * width + channel;
  const unsigned history_rows = p.taps - 1 + segment.phase;
  const unsigned keep_rows = p.taps - 1 + (segment.phase + segment.num_rows) % p.mini_batch_size;
  const unsigned first = history_rows + segment.num_rows - keep_rows;
  for (unsigned row = 0; row < keep_rows; ++row) {
    const unsigned from = first + row;
    history[row * width] = from < history_rows ? history[from * width] : x[(from - history_rows) * width];
  }
}

}  // namespace ttt::cuda
