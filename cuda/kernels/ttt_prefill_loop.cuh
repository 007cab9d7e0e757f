// SPDX-License-Identifier: Apache-2.0
// How a block reads its segment, whichever inner model it has.
#pragma once

#include "cuda/kernels/token_operands.cuh"
#include "cuda/kernels/ttt_prefill_tiles.cuh"

namespace ttt::cuda {

// Kernel: LinearPrefill, MlpPrefill.
template <typename Kernel>
TTT_DEVICE void read_segment(Kernel& kernel) {
  using Ring = typename Kernel::Ring;
  const TttPrefillParams& p = kernel.p_;
  let_next_start();
  kernel.read_weights();
  const bool makes_token = p.token.taps > 0;
  using Maker = TokenMaker<Kernel::kHeadSize>;
  if (makes_token) Maker(p, p.segments[blockIdx.y], kernel.head_).prefetch_inputs();
  wait_for_previous();
  kernel.load(0);
  kernel.load(1);
  if (threadIdx.x < kPrefillK) kernel.token_eta()[threadIdx.x] = p.token_eta[threadIdx.x];
  if (threadIdx.x == 0) kernel.wants_losses() = p.segments[blockIdx.y].wants_losses;
  wait_copies<1>();
  sync_block();
  if (makes_token) {
    Maker(p, p.segments[blockIdx.y], kernel.head_).template make<Ring>(Ring::stage(kernel.shared_, 0));
    sync_block();
  }
  // The guards of the first and the last mini-batch would cost each step in between a third of its time.
  const int mini_batches = kernel.range_.mini_batches();
  const int complete = kernel.range_.end() / kPrefillK;
  const int steady_from = kernel.range_.phase == 0 ? 1 : 2;
  TTT_NO_UNROLL for (int c = 0; c <= mini_batches; ++c) {
    if (c >= steady_from && c < complete) {
      kernel.template step<true>(c);
    } else {
      kernel.template step<false>(c);
    }
  }
  if (complete > 0) kernel.write_weights();
}

}  // namespace ttt::cuda
