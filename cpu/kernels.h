// SPDX-License-Identifier: Apache-2.0
// The kernels of the forward pass but for products (gemm.h): plain functions on rows, each of which runs the
// code of the chosen target (dispatch.h). A row's result depends on that row alone. Symbols as in
// engine/model.h: d width, H heads, f head size, m' inner width, K mini-batch, c convolution width, p phase.
#pragma once

#include <cstddef>
#include <span>

namespace ttt::cpu {

// out = x * rsqrt(mean(x^2) + eps) * weight                                    norm.cpp
void rms_norm(std::span<const float> x, std::span<const float> weight, float eps, float* out);

// out = N(x) = (x - mean) / sqrt(var + 1e-6) * weight + bias; two-pass biased variance
void layer_norm(std::span<const float> x, std::span<const float> weight, std::span<const float> bias,
                float* out);

// out = q + N(x); `out` is neither x nor q.
void layer_norm_add(std::span<const float> x, std::span<const float> weight, std::span<const float> bias,
                    const float* q, float* out);

// The inner loop's loss 1/2 |N(z) - (v - k)|^2, and alpha times its gradient at z, `weight` and `bias` being
// those of the inner norm:
//   e = weight * (N(z) - (v - k)),  gradient = alpha * (e - mean(e) - zhat * mean(e * zhat)) / s.
// Returns the loss; `gradient` may be z itself. zhat_scratch has z.size() floats.
float layer_norm_loss_gradient(std::span<const float> z, std::span<const float> weight,
                               std::span<const float> bias, const float* k, const float* v, float alpha,
                               float* zhat_scratch, float* gradient);

// Depthwise causal convolution of channels [begin, end), rows [num_rows, d]:      conv.cpp
//   y[t, ch] = bias[ch] + sum_j weight[j, ch] * x[t - (c-1) + j, ch]
// x before the first row comes from the end of `history` (history_rows >= c - 1 rows). weight is [c, d].
struct ConvInput {
  const float* history;
  std::size_t history_rows;
  const float* x;
  std::size_t num_rows;
  std::size_t width;  // d
};
void depthwise_conv(const ConvInput& input, std::span<const float> weight, std::span<const float> bias,
                    std::size_t begin, std::size_t end, float* y);

// Asks for the `taps` - 1 rows of `history` that a convolution of these channels will read, while something
// else is computed. With many sequences they come from memory, in parts too short to be foreseen.
void fetch_history(const float* history, std::size_t history_rows, std::size_t taps, std::size_t width,
                   std::size_t begin, std::size_t end);

// Moves the inputs on: afterwards `history` holds the last `keep_rows` rows of (history, x), channels
// [begin, end). REQUIRES: keep_rows <= history_rows + num_rows.
void advance_history(float* history, std::size_t history_rows, const float* x, std::size_t num_rows,
                     std::size_t keep_rows, std::size_t width, std::size_t begin, std::size_t end);

// Rotates the pairs (2i, 2i+1) of every head of one row [d] by the angle of `phase`.   rope.cpp
// table: make_rope_table() of engine/weight_values.h, K rows of f/2 (cos, sin) pairs.
void rope(float* row, std::size_t width, std::size_t head_size, std::size_t phase,
          std::span<const float> table);

// x += y                                                                       elementwise.cpp
void add(std::span<float> x, const float* y);
// gate = silu(gate) * up
void silu_multiply(std::span<float> gate, const float* up);
// x *= gelu(gate)
void gelu_multiply(std::span<float> x, const float* gate);
// out = gelu(x)
void gelu(std::span<const float> x, float* out);
// out = gelu(a); a = d gelu(a) / da
void gelu_and_derivative(std::span<float> a, float* out);
// x = scale * sigmoid(x + bias)
void scaled_sigmoid(std::span<float> x, const float* bias, float scale);

}  // namespace ttt::cpu
