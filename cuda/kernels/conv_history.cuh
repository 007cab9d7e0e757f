// SPDX-License-Identifier: Apache-2.0
// The causal convolution of one token of a segment.
#pragma once

#include "cuda/kernels/device.cuh"
#include "cuda/kernels/operand_rows.cuh"

namespace ttt::cuda {

// One input after those that a slot remembers of kCount neighbouring channels.
template <int kCount>
struct ConvHistory {
  float* history;  // of the first channel: [c-1+K-1, d], of which c-1+p rows are valid
  std::size_t width;
  unsigned taps, phase, mini_batch_size;

  // The input of a tap but the last, which is the token's. Written in the step before, it need not be waited
  // for.
  TTT_DEVICE Elements<kCount> row(unsigned tap) const {
    return load_floats<kCount>(history + (phase + tap) * width);
  }
  // Everything that a convolution reads but the token, brought into the L2 cache.
  TTT_DEVICE void prefetch_inputs(const float* weight, const float* bias) const {
    for (unsigned tap = 0; tap < taps; ++tap) {
      prefetch(weight + tap * width);
      if (tap + 1 < taps) prefetch(history + (phase + tap) * width);
    }
    prefetch(bias);
  }

  // weight and bias: of the first channel. Four taps are read at once.
  TTT_DEVICE Elements<kCount> convolved(const Elements<kCount>& x, const float* weight,
                                        const float* bias) const {
    constexpr unsigned kTogether = 4;
    Elements<kCount> sum = load_floats<kCount>(bias);
    for (unsigned first = 0; first < taps; first += kTogether) {
      Elements<kCount> inputs[kTogether], weights[kTogether];
      TTT_UNROLL for (unsigned i = 0; i < kTogether; ++i) {
        const unsigned tap = first + i;
        inputs[i] = tap + 1 < taps ? row(tap) : x;
        weights[i] = load_floats<kCount>(weight + (tap < taps ? tap : 0) * width);
      }
      TTT_UNROLL for (unsigned i = 0; i < kTogether; ++i) {
        if (first + i >= taps) continue;
        TTT_UNROLL for (int e = 0; e < kCount; ++e) {
          sum.at[e] = fmaf(weights[i].at[e], inputs[i].at[e], sum.at[e]);
        }
      }
    }
    return sum;
  }

  // A completed mini-batch leaves its last c-1 inputs.
  TTT_DEVICE void advance(const Elements<kCount>& x) const {
    if (phase + 1 < mini_batch_size) return store_floats(history + (taps - 1 + phase) * width, x);
    for (unsigned tap = 0; tap + 1 < taps; ++tap) {
      store_floats(history + tap * width, tap + 2 < taps ? row(tap + 1) : x);
    }
  }
};

}  // namespace ttt::cuda
