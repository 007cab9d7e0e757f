// SPDX-License-Identifier: Apache-2.0
// Activation functions in fp32. Every fused multiply-add is written as one, so that host and device agree.
#pragma once

#include <cmath>

#include "cuda/kernels/device.cuh"

namespace ttt::cuda {

constexpr float kGeluScale = 0.7978845608F;  // sqrt(2 / pi)
constexpr float kGeluCubic = 0.044715F;

TTT_DEVICE float sigmoid(float x) { return 1.0F / (1.0F + expf(-x)); }

TTT_DEVICE float silu(float x) { return x * sigmoid(x); }

// The tanh form.
TTT_DEVICE float gelu(float x) {
  const float inner = kGeluScale * fmaf(kGeluCubic * x * x, x, x);
  return 0.5F * x * (1.0F + tanhf(inner));
}

TTT_DEVICE float gelu_derivative(float x) {
  const float inner = kGeluScale * fmaf(kGeluCubic * x * x, x, x);
  const float tanh_inner = tanhf(inner);
  const float slope = kGeluScale * fmaf(3.0F * kGeluCubic * x, x, 1.0F);
  return fmaf(0.5F * x * fmaf(-tanh_inner, tanh_inner, 1.0F), slope, 0.5F * (1.0F + tanh_inner));
}

}  // namespace ttt::cuda
