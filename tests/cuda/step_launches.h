// SPDX-License-Identifier: Apache-2.0
// Which kernels a step must launch: told by the model, the mode and the rows, as docs/cuda.md has it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>

#include "cuda/cuda_backend.h"
#include "cuda/forward.h"
#include "cuda/kernels/product_few.h"
#include "engine/config.h"
#include "tests/cuda/launches.h"

namespace ttt::test {

inline constexpr const char* kInnerKernels[] = {"ttt_linear_exact", "ttt_mlp_exact", "ttt_linear_prefill",
                                                "ttt_mlp_prefill", "ttt_mlp_streamed"};

// Of one layer's inner loop.
inline std::string inner_kernel_name(const ModelConfig& config, cuda::Precision precision) {
  const std::size_t f = config.head_size();
  const bool on_tensor_cores =
      precision == cuda::Precision::kFast && config.mini_batch_size == 16 && (f == 64 || f == 96 || f == 128);
  if (!config.is_mlp()) return on_tensor_cores ? "ttt_linear_prefill" : "ttt_linear_exact";
  if (!on_tensor_cores) return "ttt_mlp_exact";
  return f == 64 ? "ttt_mlp_prefill" : "ttt_mlp_streamed";
}

// Of all kernels for an inner loop this one ran, and no other.
inline void check_inner_kernel(const Launches& launches, const ModelConfig& config,
                               cuda::Precision precision) {
  for (const char* kernel : kInnerKernels) {
    INFO(kernel);
    CHECK((launches.of(kernel) > 0) == (inner_kernel_name(config, precision) == kernel));
  }
}

// Matrices of a layer.
inline int products_of_layer(const ModelConfig& config) {
  return 7 + (config.share_qk ? 0 : 1) + (config.use_gate ? 1 : 0);  // q, v, rates, o, three of SwiGLU
}

// Of one step in which one segment reads several tokens and wants the logits of all; every row that is
// multiplied has a length that 8 divides. `library`: cuBLASLt does what it can.
inline std::map<std::string, int> prompt_launches(const ModelConfig& config, cuda::Precision precision,
                                                  std::size_t num_tokens, bool library = false) {
  const auto layers = static_cast<int>(config.num_hidden_layers);
  const bool exact = precision == cuda::Precision::kExact;
  std::map<std::string, int> launches = {{"product_exact", 0},      {"product_few", 0}, {"product_mma", 0},
                                         {"cublas_lt_multiply", 0}, {"rope", 0},        {"rope_operands", 0}};
  for (const char* kernel : kInnerKernels) launches[kernel] = 0;
  const std::string inner = inner_kernel_name(config, precision);
  launches[inner] = layers;
  launches[inner.ends_with("exact") ? "rope" : "rope_operands"] = layers;
  launches["depthwise_conv"] = layers * ((config.pre_conv ? 1 : 0) + (config.share_qk ? 2 : 0));
  const auto multiply = [&](std::size_t rows, int matrices, int launches_of_few) {
    const bool few = rows <= static_cast<std::size_t>(cuda::kMostFewRows);
    const char* const many = library ? "cublas_lt_multiply" : "product_mma";
    launches[exact ? "product_exact"
             : few ? "product_few"
                   : many] += !exact && few ? launches_of_few : matrices;
  };
  // Few rows: those of h together, o, gate with up, down.
  multiply(num_tokens, layers * products_of_layer(config), layers * 4);
  for (std::size_t first = 0; first < num_tokens; first += cuda::kHeadRows) {
    multiply(std::min(cuda::kHeadRows, num_tokens - first), 1, 1);
  }
  return launches;
}

// The same where every segment reads one token.
inline std::map<std::string, int> decode_launches(const ModelConfig& config, cuda::Precision precision) {
  const auto layers = static_cast<int>(config.num_hidden_layers);
  std::map<std::string, int> launches = prompt_launches(config, precision, 1);
  if (inner_kernel_name(config, precision).ends_with("exact")) return launches;
  launches["decode_pre_conv"] = config.pre_conv ? layers : 0;
  launches["depthwise_conv"] = 0;
  if (config.share_qk) launches["rope_operands"] = 0;  // the inner loop makes its operands
  return launches;
}

}  // namespace ttt::test
