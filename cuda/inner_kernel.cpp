// SPDX-License-Identifier: Apache-2.0
#include "cuda/inner_kernel.h"

#include "cuda/kernels/inner_loop_exact.h"
#include "cuda/kernels/ttt_linear_prefill.h"
#include "cuda/kernels/ttt_mlp_prefill.h"

namespace ttt::cuda {
namespace {

bool has_prefill_kernel(const ModelConfig& config) {
  const auto f = static_cast<int>(config.head_size());
  const auto inner = static_cast<int>(config.inner_size());
  const auto K = static_cast<int>(config.mini_batch_size);
  return config.is_mlp() ? ttt_mlp_prefill_supports(f, inner, K) : ttt_linear_prefill_supports(f, K);
}

bool has_exact_kernel(const ModelConfig& config) {
  return inner_loop_rows_per_run(static_cast<std::uint32_t>(config.head_size()),
                                 static_cast<std::uint32_t>(config.inner_size()),
                                 static_cast<std::uint32_t>(config.mini_batch_size), config.is_mlp()) > 0;
}

}  // namespace

InnerKernel inner_kernel(const ModelConfig& config, Precision precision) {
  if (precision == Precision::kFast && has_prefill_kernel(config)) return InnerKernel::kPrefill;
  return has_exact_kernel(config) ? InnerKernel::kExact : InnerKernel::kNone;
}

}  // namespace ttt::cuda
