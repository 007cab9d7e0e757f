// SPDX-License-Identifier: Apache-2.0
// A model's weights as the CPU kernels want them: matrices where they lie in the file, everything small
// as fp32 in the order that it is read.
#pragma once

#include <cstddef>
#include <vector>

#include "cpu/gemm.h"
#include "engine/model.h"

namespace ttt::cpu {

struct CpuLayerWeights {
  std::vector<float> pre_conv_norm;                   // [d] (pre_conv)
  std::vector<float> pre_conv_weight, pre_conv_bias;  // [c, d], [d]

  std::vector<float> attn_norm;                      // [d]
  Matrix attn_q, attn_k, attn_v, gate, attn_output;  // [d, d]; attn_k and gate may be absent
  std::vector<float> conv_q_weight, conv_q_bias;     // [c, d], [d] (share_qk)
  std::vector<float> conv_k_weight, conv_k_bias;

  std::vector<float> lr_weight, lr_bias;                  // [H, d], [H]
  std::vector<float> token_eta;                           // [K], tau = max(0, 1/(i+1) + token_idx[i])
  std::vector<float> initial_fast_weights;                // W1 [H, f, m'], b1 [H, m'], W2, b2: as in a state
  std::vector<float> inner_norm_weight, inner_norm_bias;  // [H, f]
  std::vector<float> post_norm_weight, post_norm_bias;    // [d]

  std::vector<float> ffn_norm;        // [d]
  Matrix ffn_gate, ffn_up, ffn_down;  // [m, d], [m, d], [d, m]
};

struct CpuWeights {
  ModelConfig config;
  Matrix token_embd;  // [V, d]
  std::vector<CpuLayerWeights> layers;
  std::vector<float> output_norm;  // [d]
  Matrix output;                   // [V, d]
  std::vector<float> rope_table;   // [K, f/2] pairs (cos, sin)
  std::size_t bytes = 0;           // of the copies above

  explicit CpuWeights(const Model& model);
};

}  // namespace ttt::cpu
