// SPDX-License-Identifier: Apache-2.0
// TTT-MLP: the inner model is z = GELU(k W1 + b1) W2 + b2.
#pragma once

#include "cuda/kernels/activations.cuh"
#include "cuda/kernels/inner_loop_exact.cuh"

namespace ttt::cuda {

// y = gelu(a)
TTT_DEVICE void gelu_rows(ConstRows a, unsigned num_rows, unsigned size, MutableRows y) {
  for (unsigned item = threadIdx.x; item < num_rows * size; item += blockDim.x) {
    y.row(item / size)[item % size] = gelu(a.row(item / size)[item % size]);
  }
}

// Blocks (head, segment). Shared memory, rows_per_run rows each: q [f], z [f], a [m'], y [m'], scores [K].
__global__ void ttt_mlp_exact(const InnerLoopParams p) {
  TTT_DYNAMIC_SHARED(shared_bytes);
  auto* shared = reinterpret_cast<float*>(shared_bytes);
  const SegmentEntry segment = p.segments[blockIdx.y];
  const unsigned f = p.head_size, m = p.inner_size;
  const InnerHead head = inner_head(p, segment, blockIdx.x, true);
  const MutableRows q{shared, f};
  const MutableRows z{q.at + p.rows_per_run * f, f};
  const MutableRows a{z.at + p.rows_per_run * f, m};  // before GELU
  const MutableRows y{a.at + p.rows_per_run * m, m};  // after GELU
  const MutableRows scores{y.at + p.rows_per_run * m, p.mini_batch_size};
  for (unsigned first = 0; first < segment.num_rows;) {
    InnerRun run = inner_run(p, segment, blockIdx.x, first);
    const unsigned phase = run.phase, count = run.num_rows;
    run.learn.z = z;
    const MutableRows keys = open_rows_from(head.key, phase);
    const MutableRows gradients_1 = open_rows_from(head.gradient_1, phase);
    const MutableRows gradients_2 = open_rows_from(head.gradient_2, phase);
    copy_rows(run.q, count, f, q);
    copy_rows(run.k, count, f, keys);
    sync_block();
    // Learn: g2 = alpha * dLoss/dz,  g1 = (g2 W2^T) * GELU'(a), at the committed W1, W2.
    affine(keys, count, f, head.W1, head.b1, m, a);
    sync_block();
    gelu_rows(a, count, m, y);
    sync_block();
    copy_rows(y, count, m, open_rows_from(head.hidden, phase));
    affine(y, count, m, head.W2, head.b2, f, z);
    sync_block();
    learn_rows(run.learn, count, head, f, gradients_2);
    sync_block();
    for_each_product(gradients_2, count, f, {head.W2, 1, f}, m, [&](unsigned r, unsigned c, float sum) {
      gradients_1.row(r)[c] = sum * gelu_derivative(a.row(r)[c]);
    });
    sync_block();
    // Read, layer by layer, each with the correction for the open rows:
    //   a = q W1 + b1 - token_eta * sum_j (q . k_j + 1) g1_j,  y = GELU(a)
    //   z = y W2 + b2 - token_eta * sum_j (y . y_j + 1) g2_j,  o = q + N(z)
    affine(q, count, f, head.W1, head.b1, m, a);
    score_open_rows(q, count, phase + count, head.key, f, scores);
    sync_block();
    subtract_open_rows(scores, count, phase, head.gradient_1, m, p.token_eta + phase, a);
    sync_block();
    gelu_rows(a, count, m, y);
    sync_block();
    affine(y, count, m, head.W2, head.b2, f, z);
    score_open_rows(y, count, phase + count, head.hidden, m, scores);
    sync_block();
    subtract_open_rows(scores, count, phase, head.gradient_2, f, p.token_eta + phase, z);
    sync_block();
    write_outputs(z, q, count, head, f, run.out);
    if (phase + count == p.mini_batch_size) {
      const float eta = p.token_eta[p.mini_batch_size - 1];
      commit_rows(head.key, f, head.gradient_1, m, p.mini_batch_size, eta, head.W1, head.b1);
      commit_rows(head.hidden, m, head.gradient_2, f, p.mini_batch_size, eta, head.W2, head.b2);
    }
    sync_block();
    first += count;
  }
}

}  // namespace ttt::cuda
