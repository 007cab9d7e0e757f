// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/inner_loop_exact.h"

#include "cuda/kernels/threads_for.h"
#include "cuda/kernels/ttt_linear_exact.cuh"
#include "cuda/kernels/ttt_mlp_exact.cuh"
#include "cuda/launch.cuh"

namespace ttt::cuda {
namespace {

std::uint32_t run_row_floats(std::uint32_t head_size, std::uint32_t inner_size, std::uint32_t mini_batch_size,
                             bool is_mlp) {
  return 2 * head_size + (is_mlp ? 2 * inner_size : 0) + mini_batch_size;
}

LaunchShape inner_loop_shape(const InnerLoopParams& p, bool is_mlp) {
  const std::size_t row_floats = run_row_floats(p.head_size, p.inner_size, p.mini_batch_size, is_mlp);
  return {p.heads, p.num_segments, threads_for(2 * p.head_size), p.rows_per_run * row_floats * sizeof(float)};
}

}  // namespace

std::uint32_t inner_loop_rows_per_run(std::uint32_t head_size, std::uint32_t inner_size,
                                      std::uint32_t mini_batch_size, bool is_mlp) {
  const std::uint32_t fitting =
      kInnerSharedFloats / run_row_floats(head_size, inner_size, mini_batch_size, is_mlp);
  const std::uint32_t rows = fitting < kMaxRunRows ? fitting : kMaxRunRows;
  return rows < mini_batch_size ? rows : mini_batch_size;
}

void launch_ttt_linear_exact(const InnerLoopParams& params, cudaStream_t stream) {
  launch(ttt_linear_exact, inner_loop_shape(params, false), params, stream);
}

void launch_ttt_mlp_exact(const InnerLoopParams& params, cudaStream_t stream) {
  launch(ttt_mlp_exact, inner_loop_shape(params, true), params, stream);
}

}  // namespace ttt::cuda
