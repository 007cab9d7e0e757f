// SPDX-License-Identifier: Apache-2.0
// TTT-Linear: the inner model is z = k W1 + b1.
#include <algorithm>

#include "cpu/inner_loop.h"
#include "cpu/kernels.h"

namespace ttt::cpu {
namespace {

// `count` rows of one mini-batch, from `first` of the segment in slot `phase` on.
void read_run(const InnerLoopHead& head, const InnerLoopRows& rows, std::size_t first, std::size_t count,
              std::size_t phase, float* scratch) {
  const std::size_t f = head.head_size;
  const std::size_t stride = head.open_row_stride;
  float* zhat = scratch;
  const MutableBlock z{zhat + f, f};
  const MutableBlock scores{z.at + kInnerLoopRun * f, head.mini_batch_size};
  const Block q{rows.q + first * rows.row_stride, rows.row_stride};
  const Block keys{head.key, stride};
  const Block gradients{head.gradient_1, stride};

  // Learn: g = alpha * dLoss/dz at z = k W1 + b1, target v - k.
  for (std::size_t r = 0; r < count; ++r) {
    std::copy_n(rows.k + (first + r) * rows.row_stride, f, head.key + (phase + r) * stride);
  }
  affine({head.key + phase * stride, stride}, count, f, head.W1, head.b1, f, z);
  for (std::size_t r = 0; r < count; ++r) {
    const float* k = head.key + (phase + r) * stride;
    const float* v = rows.v + (first + r) * rows.row_stride;
    const float alpha = rows.alpha[(first + r) * rows.alpha_stride];
    float* gradient = head.gradient_1 + (phase + r) * stride;
    const float loss = layer_norm_loss_gradient({z.at + r * f, f}, head.norm_weight, head.norm_bias, k, v,
                                                alpha, zhat, gradient);
    if (rows.losses != nullptr) rows.losses[(first + r) * rows.losses_stride] = loss;
  }

  // Read: z = q W1 + b1 - token_eta * sum_{j <= phase} (q . k_j + 1) g_j, o = q + N(z).
  affine(q, count, f, head.W1, head.b1, f, z);
  score_open_rows(q, count, phase, keys, f, scores);
  subtract_open_rows({scores.at, scores.stride}, count, phase, gradients, f, head.token_eta.data() + phase,
                     z);
  for (std::size_t r = 0; r < count; ++r) {
    layer_norm_add({z.at + r * f, f}, head.norm_weight, head.norm_bias, q.at + r * q.stride,
                   rows.out + (first + r) * rows.row_stride);
  }
}

}  // namespace

void ttt_linear(const InnerLoopHead& head, const InnerLoopRows& rows, float* scratch) {
  const std::size_t f = head.head_size;
  for (std::size_t row = 0; row < rows.num_rows;) {
    const std::size_t phase = phase_of(rows.position + static_cast<std::int64_t>(row), head.mini_batch_size);
    const std::size_t count = std::min({rows.num_rows - row, head.mini_batch_size - phase, kInnerLoopRun});
    read_run(head, rows, row, count, phase, scratch);
    row += count;
    if (phase + count == head.mini_batch_size) {
      commit_rows({head.key, head.open_row_stride}, f, {head.gradient_1, head.open_row_stride}, f,
                  head.mini_batch_size, head.token_eta.back(), head.W1, head.b1);
    }
  }
}

}  // namespace ttt::cpu
