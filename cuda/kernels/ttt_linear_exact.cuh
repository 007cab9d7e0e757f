// SPDX-License-Identifier: Apache-2.0
// TTT-Linear: the inner model is z = k W1 + b1.
#pragma once

#include "cuda/kernels/inner_loop_exact.cuh"

namespace ttt::cuda {

// Blocks (head, segment). Shared memory, rows_per_run rows each: q [f], z [f], scores [K].
__global__ void ttt_linear_exact(const InnerLoopParams p) {
  TTT_DYNAMIC_SHARED(shared_bytes);
  auto* shared = reinterpret_cast<float*>(shared_bytes);
  const SegmentEntry segment = p.segments[blockIdx.y];
  const unsigned f = p.head_size;
  const InnerHead head = inner_head(p, segment, blockIdx.x, false);
  const MutableRows q{shared, f};
  const MutableRows z{q.at + p.rows_per_run * f, f};
  const MutableRows scores{z.at + p.rows_per_run * f, p.mini_batch_size};
  for (unsigned first = 0; first < segment.num_rows;) {
    InnerRun run = inner_run(p, segment, blockIdx.x, first);
    const unsigned phase = run.phase, count = run.num_rows;
    run.learn.z = z;
    const MutableRows keys = open_rows_from(head.key, phase);
    copy_rows(run.q, count, f, q);
    copy_rows(run.k, count, f, keys);
    sync_block();
    // Learn: g = alpha * dLoss/dz at z = k W1 + b1, target v - k.
    affine(keys, count, f, head.W1, head.b1, f, z);
    sync_block();
    learn_rows(run.learn, count, head, f, open_rows_from(head.gradient_1, phase));
    sync_block();
    // Read: z = q W1 + b1 - token_eta * sum_j (q . k_j + 1) g_j,  o = q + N(z).
    affine(q, count, f, head.W1, head.b1, f, z);
    score_open_rows(q, count, phase + count, head.key, f, scores);
    sync_block();
    subtract_open_rows(scores, count, phase, head.gradient_1, f, p.token_eta + phase, z);
    sync_block();
    write_outputs(z, q, count, head, f, run.out);
    if (phase + count == p.mini_batch_size) {
      const float eta = p.token_eta[p.mini_batch_size - 1];
      commit_rows(head.key, f, head.gradient_1, f, p.mini_batch_size, eta, head.W1, head.b1);
    }
    sync_block();
    first += count;
  }
}

}  // namespace ttt::cuda
