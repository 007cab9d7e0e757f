// SPDX-License-Identifier: Apache-2.0
// Which kernel runs a model's inner loop.
#pragma once

#include <cstdint>

#include "cuda/cuda_backend.h"
#include "engine/config.h"

namespace ttt::cuda {

enum class InnerKernel : std::uint8_t {
  kNone,    // its heads are too large for any
  kExact,   // inner_loop_exact.h
  kPrefill  // ttt_linear_prefill.h, ttt_mlp_prefill.h: tensor cores
};

// The prefill kernels have the sizes that models have; every other size is computed exactly in fast mode too.
InnerKernel inner_kernel(const ModelConfig& config, Precision precision);

}  // namespace ttt::cuda
