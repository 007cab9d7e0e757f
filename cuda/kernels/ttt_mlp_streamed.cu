// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/ttt_mlp_streamed.h"

#include <stdexcept>

#include "cuda/kernels/ttt_mlp_streamed.cuh"
#include "cuda/kernels/ttt_prefill_launch.cuh"

namespace ttt::cuda {

void launch_ttt_mlp_streamed(int head_size, const TttPrefillParams& params, cudaStream_t stream) {
  switch (head_size) {
    case 96:
      return launch_prefill<MlpStreamed<96>>(ttt_mlp_streamed<96>, params, stream);
    case 128:
      return launch_prefill<MlpStreamed<128>>(ttt_mlp_streamed<128>, params, stream);
    default:
      throw std::invalid_argument("no TTT-MLP kernel in the dual form for this head size");
  }
}

}  // namespace ttt::cuda
