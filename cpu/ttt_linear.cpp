// SPDX-License-Identifier: Apache-2.0
// TTT-Linear: the inner model is z = k W1 + b1.
#include <algorithm>

#include "cpu/inner_loop.h"
#include "cpu/kernels.h"
#include "cpu/vector_math.h"

namespace ttt::cpu {

void ttt_linear(const InnerLoopHead& head, const InnerLoopRows& rows, float* scratch) {
  const std::size_t f = head.head_size;
  const std::size_t stride = head.open_row_stride;
  float* target = scratch;
  float* zhat = target + f;
  float* z = zhat + f;
  float* sums = z + f;

  for (std::size_t row = 0; row < rows.num_rows; ++row) {
    const std::size_t phase = phase_of(rows.position + static_cast<std::int64_t>(row), head.mini_batch_size);
    const float* q = rows.q + row * rows.row_stride;
    const float* k = rows.k + row * rows.row_stride;
    const float* v = rows.v + row * rows.row_stride;
    float* out = rows.out + row * rows.row_stride;
    float* gradient = head.gradient_1 + phase * stride;

    // Learn: g = alpha * dLoss/dz at z = k W1 + b1, target v - k.
    std::copy(k, k + f, head.key + phase * stride);
    for (std::size_t i = 0; i < f; ++i) target[i] = v[i] - k[i];
    affine(k, head.W1, head.b1, f, f, z);
    const float loss =
        layer_norm_loss_gradient({z, f}, {target, f}, head.norm_weight, head.norm_bias, zhat, gradient);
    const float alpha = rows.alpha[row * rows.alpha_stride];
    for (std::size_t i = 0; i < f; ++i) gradient[i] *= alpha;
    if (rows.losses != nullptr) rows.losses[row * rows.losses_stride] = loss;

    // Read: z = q W1 + b1 - token_eta * sum_{j <= phase} (q . k_j + 1) g_j, o = q + N(z).
    affine(q, head.W1, head.b1, f, f, z);
    subtract_open_rows(q, head.key, f, head.gradient_1, f, stride, phase + 1, head.token_eta[phase], sums, z);
    layer_norm({z, f}, head.norm_weight, head.norm_bias, zhat);
    for (std::size_t i = 0; i < f; ++i) out[i] = q[i] + zhat[i];

    if (phase + 1 == head.mini_batch_size) {
      commit_rows(head.key, f, head.gradient_1, f, stride, phase + 1, head.token_eta[phase], sums, head.W1,
                  head.b1);
    }
  }
}

}  // namespace ttt::cpu
