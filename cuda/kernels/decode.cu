// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/decode.cuh"

namespace ttt::cuda {

void launch_decode_pre_conv(const DecodePreConvParams& params, cudaStream_t stream) {
  params.width % 4 == 0
      ? launch(decode_pre_conv<4>, by_rows(params.num_rows, params.width, 4), params, stream)
      : launch(decode_pre_conv<1>, by_rows(params.num_rows, params.width, 1), params, stream);
}

void launch_decode_operands(const DecodeOperandsParams& params, cudaStream_t stream) {
  const std::uint32_t pairs = params.operands.rope.width / 2, threads = threads_for(pairs);
  launch(decode_operands, {params.operands.rope.num_rows, (pairs + threads - 1) / threads, threads, 0, true},
         params, stream);
}

}  // namespace ttt::cuda
