// SPDX-License-Identifier: Apache-2.0
// A model's weights in device memory, everything small as fp32. Matrices, exact: in their own type. Fast: F16
// and BF16 as they are, quantised ones too (they multiply rows of fp16), all else rounded to fp16, or to bf16
// where its largest value is none of fp16's normal numbers. Matrices that multiply the same rows are of one
// type then, so that the rows are rounded once; a matrix whose rows tensor cores cannot read stays as in
// exact.
#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "cuda/cuda_backend.h"
#include "cuda/device_memory.h"
#include "cuda/kernels/matrix.h"
#include "engine/model.h"

namespace ttt::cuda {

struct DeviceLayerWeights {
  const float* pre_conv_norm = nullptr;                              // [d] (pre_conv)
  const float *pre_conv_weight = nullptr, *pre_conv_bias = nullptr;  // [c, d], [d]

  const float* attn_norm = nullptr;                              // [d]
  Matrix attn_q, attn_k, attn_v, gate, attn_output;              // [d, d]; attn_k and gate may be absent
  const float *conv_q_weight = nullptr, *conv_q_bias = nullptr;  // [c, d], [d] (share_qk)
  const float *conv_k_weight = nullptr, *conv_k_bias = nullptr;

  Matrix lr_weight;                                                      // [H, d]
  const float* lr_bias = nullptr;                                        // [H]
  const float* token_eta = nullptr;                                      // [K]
  const float *inner_norm_weight = nullptr, *inner_norm_bias = nullptr;  // [H, f]
  const float *post_norm_weight = nullptr, *post_norm_bias = nullptr;    // [d]

  const float* ffn_norm = nullptr;    // [d]
  Matrix ffn_gate, ffn_up, ffn_down;  // [m, d], [m, d], [d, m]
};

struct DeviceWeights {
  ModelConfig config;
  std::vector<DeviceLayerWeights> layers;
  const float* output_norm = nullptr;    // [d]
  Matrix token_embd, output;             // [V, d]; the same where they are tied
  const float* rope_table = nullptr;     // [K, f/2] pairs (cos, sin)
  const float* initial_state = nullptr;  // the canonical state of a sequence that has read nothing

  // Takes the weights' places from the arena. Where it does not measure, copies them there by the stream,
  // tensor by tensor, and lets go of the pages that each was read from.
  DeviceWeights(const Model& model, Precision precision, DeviceArena& arena, cudaStream_t stream);
};

}  // namespace ttt::cuda
