// SPDX-License-Identifier: Apache-2.0
// TTT-MLP: the inner model is z = GELU(k W1 + b1) W2 + b2.
#include <algorithm>

#include "cpu/inner_loop.h"
#include "cpu/kernels.h"
#include "cpu/vector_math.h"

namespace ttt::cpu {

void ttt_mlp(const InnerLoopHead& head, const InnerLoopRows& rows, float* scratch) {
  const std::size_t f = head.head_size;
  const std::size_t m = head.inner_size;
  const std::size_t stride = head.open_row_stride;
  float* target = scratch;
  float* zhat = target + f;
  float* z = zhat + f;
  float* a = z + f;  // before GELU
  float* y = a + m;  // after GELU, of the query
  float* sums = y + m;

  for (std::size_t row = 0; row < rows.num_rows; ++row) {
    const std::size_t phase = phase_of(rows.position + static_cast<std::int64_t>(row), head.mini_batch_size);
    const float token_eta = head.token_eta[phase];
    const float* q = rows.q + row * rows.row_stride;
    const float* k = rows.k + row * rows.row_stride;
    const float* v = rows.v + row * rows.row_stride;
    float* out = rows.out + row * rows.row_stride;
    float* hidden = head.hidden + phase * stride;
    float* gradient_1 = head.gradient_1 + phase * stride;
    float* gradient_2 = head.gradient_2 + phase * stride;

    // Learn: g2 = alpha * dLoss/dz,  g1 = (g2 W2^T) * GELU'(a), at the committed W1, W2.
    std::copy(k, k + f, head.key + phase * stride);
    for (std::size_t i = 0; i < f; ++i) target[i] = v[i] - k[i];
    affine(k, head.W1, head.b1, f, m, a);
    for (std::size_t i = 0; i < m; ++i) hidden[i] = gelu(a[i]);
    affine(hidden, head.W2, head.b2, m, f, z);
    const float loss =
        layer_norm_loss_gradient({z, f}, {target, f}, head.norm_weight, head.norm_bias, zhat, gradient_2);
    const float alpha = rows.alpha[row * rows.alpha_stride];
    for (std::size_t i = 0; i < f; ++i) gradient_2[i] *= alpha;
    for (std::size_t i = 0; i < m; ++i)
      gradient_1[i] = dot(gradient_2, head.W2 + i * f, f) * gelu_derivative(a[i]);
    if (rows.losses != nullptr) rows.losses[row * rows.losses_stride] = loss;

    // Read, layer by layer, each with the correction for the open rows:
    //   a = q W1 + b1 - token_eta * sum_j (q . k_j + 1) g1_j,  y = GELU(a)
    //   z = y W2 + b2 - token_eta * sum_j (y . y_j + 1) g2_j,  o = q + N(z)
    affine(q, head.W1, head.b1, f, m, a);
    subtract_open_rows(q, head.key, f, head.gradient_1, m, stride, phase + 1, token_eta, sums, a);
    for (std::size_t i = 0; i < m; ++i) y[i] = gelu(a[i]);
    affine(y, head.W2, head.b2, m, f, z);
    subtract_open_rows(y, head.hidden, m, head.gradient_2, f, stride, phase + 1, token_eta, sums, z);
    layer_norm({z, f}, head.norm_weight, head.norm_bias, zhat);
    for (std::size_t i = 0; i < f; ++i) out[i] = q[i] + zhat[i];

    if (phase + 1 == head.mini_batch_size) {
      commit_rows(head.key, f, head.gradient_1, m, stride, phase + 1, token_eta, sums, head.W1, head.b1);
      commit_rows(head.hidden, m, head.gradient_2, f, stride, phase + 1, token_eta, sums, head.W2, head.b2);
    }
  }
}

}  // namespace ttt::cpu
