// SPDX-License-Identifier: Apache-2.0
// cuda_backend.h in a build without a CUDA toolkit.
#include "cuda/cuda_backend.h"

namespace ttt::cuda {

bool cuda_built() { return false; }

std::string cuda_description() { return "built without CUDA; configure with -DTTT_CUDA=ON"; }

std::vector<CudaDevice> cuda_devices() { return {}; }

}  // namespace ttt::cuda
