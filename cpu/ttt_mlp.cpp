// SPDX-License-Identifier: Apache-2.0
// TTT-MLP: the inner model is z = GELU(k W1 + b1) W2 + b2.
#include <algorithm>

#include "cpu/inner_loop.h"
#include "cpu/kernels.h"

namespace ttt::cpu {
namespace {

// Scratch of a run, in the order of inner_loop_scratch_floats().
struct Scratch {
  Scratch(const InnerLoopHead& head, float* at)
      : zhat(at),
        z{zhat + head.head_size, head.head_size},
        a{z.at + kInnerLoopRun * head.head_size, head.inner_size},
        y{a.at + kInnerLoopRun * head.inner_size, head.inner_size},
        scores{y.at + kInnerLoopRun * head.inner_size, head.mini_batch_size} {}

  float* zhat;          // [f]
  MutableBlock z;       // [run][f]
  MutableBlock a;       // [run][m'] before GELU; of a key then GELU's derivative there
  MutableBlock y;       // [run][m'] after GELU, of the query
  MutableBlock scores;  // [run][K]
};

// Rows [first, first + count) of the segment, in slots `phase` on of one mini-batch:
// g2 = alpha * dLoss/dz,  g1 = (g2 W2^T) * GELU'(a), at the committed W1, W2.
void learn_run(const InnerLoopHead& head, const InnerLoopRows& rows, std::size_t first, std::size_t count,
               std::size_t phase, const Scratch& scratch) {
  const std::size_t f = head.head_size;
  const std::size_t m = head.inner_size;
  const std::size_t stride = head.open_row_stride;
  const std::size_t at = phase * stride;
  for (std::size_t r = 0; r < count; ++r) {
    std::copy_n(rows.k + (first + r) * rows.row_stride, f, head.key + at + r * stride);
  }
  affine({head.key + at, stride}, count, f, head.W1, head.b1, m, scratch.a);
  for (std::size_t r = 0; r < count; ++r) {
    gelu_and_derivative({scratch.a.at + r * m, m}, head.hidden + at + r * stride);
  }
  affine({head.hidden + at, stride}, count, m, head.W2, head.b2, f, scratch.z);
  for (std::size_t r = 0; r < count; ++r) {
    const float* k = head.key + at + r * stride;
    const float* v = rows.v + (first + r) * rows.row_stride;
    const float alpha = rows.alpha[(first + r) * rows.alpha_stride];
    const float loss = layer_norm_loss_gradient({scratch.z.at + r * f, f}, head.norm_weight, head.norm_bias,
                                                k, v, alpha, scratch.zhat, head.gradient_2 + at + r * stride);
    if (rows.losses != nullptr) rows.losses[(first + r) * rows.losses_stride] = loss;
  }
  const Block derivatives{scratch.a.at, scratch.a.stride};
  product_transposed({head.gradient_2 + at, stride}, count, head.W2, f, m, derivatives,
                     {head.gradient_1 + at, stride});
}

// The same rows, layer by layer, each with the correction for the open rows:
//   a = q W1 + b1 - token_eta * sum_j (q . k_j + 1) g1_j,  y = GELU(a)
//   z = y W2 + b2 - token_eta * sum_j (y . y_j + 1) g2_j,  o = q + N(z)
void read_run(const InnerLoopHead& head, const InnerLoopRows& rows, std::size_t first, std::size_t count,
              std::size_t phase, const Scratch& scratch) {
  const std::size_t f = head.head_size;
  const std::size_t m = head.inner_size;
  const std::size_t stride = head.open_row_stride;
  const float* token_eta = head.token_eta.data() + phase;
  const Block q{rows.q + first * rows.row_stride, rows.row_stride};
  const Block y{scratch.y.at, scratch.y.stride};
  const Block scores{scratch.scores.at, scratch.scores.stride};
  affine(q, count, f, head.W1, head.b1, m, scratch.a);
  score_open_rows(q, count, phase, {head.key, stride}, f, scratch.scores);
  subtract_open_rows(scores, count, phase, {head.gradient_1, stride}, m, token_eta, scratch.a);
  gelu({scratch.a.at, count * m}, scratch.y.at);
  affine(y, count, m, head.W2, head.b2, f, scratch.z);
  score_open_rows(y, count, phase, {head.hidden, stride}, m, scratch.scores);
  subtract_open_rows(scores, count, phase, {head.gradient_2, stride}, f, token_eta, scratch.z);
  for (std::size_t r = 0; r < count; ++r) {
    layer_norm_add({scratch.z.at + r * f, f}, head.norm_weight, head.norm_bias, q.at + r * q.stride,
                   rows.out + (first + r) * rows.row_stride);
  }
}

}  // namespace

void ttt_mlp(const InnerLoopHead& head, const InnerLoopRows& rows, float* scratch_floats) {
  const Scratch scratch(head, scratch_floats);
  const std::size_t f = head.head_size;
  const std::size_t m = head.inner_size;
  const std::size_t stride = head.open_row_stride;
  const std::size_t K = head.mini_batch_size;
  for (std::size_t row = 0; row < rows.num_rows;) {
    const std::size_t phase = phase_of(rows.position + static_cast<std::int64_t>(row), K);
    const std::size_t count = std::min({rows.num_rows - row, K - phase, kInnerLoopRun});
    learn_run(head, rows, row, count, phase, scratch);
    read_run(head, rows, row, count, phase, scratch);
    row += count;
    if (phase + count == K) {
      const float eta = head.token_eta.back();
      commit_rows({head.key, stride}, f, {head.gradient_1, stride}, m, K, eta, head.W1, head.b1);
      commit_rows({head.hidden, stride}, m, {head.gradient_2, stride}, f, K, eta, head.W2, head.b2);
    }
  }
}

}  // namespace ttt::cpu
