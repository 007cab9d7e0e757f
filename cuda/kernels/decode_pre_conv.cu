// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/decode_pre_conv.cuh"

namespace ttt::cuda {

void launch_decode_pre_conv(const DecodePreConvParams& params, cudaStream_t stream) {
  launch(decode_pre_conv, by_rows(params.num_rows, params.width, kPreConvElements), params, stream);
}

}  // namespace ttt::cuda
