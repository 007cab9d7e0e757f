// SPDX-License-Identifier: Apache-2.0
// A model's weights as the CPU kernels want them: matrices packed, everything small as fp32 in the order that
// it is read. Only an embedding that is not the output head stays in a mapped file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "cpu/large_buffer.h"
#include "cpu/packed_cache.h"
#include "cpu/packed_matrix.h"
#include "cpu/thread_pool.h"
#include "engine/batch.h"
#include "engine/model.h"

namespace ttt::cpu {

struct CpuLayerWeights {
  std::vector<float> pre_conv_norm;                   // [d] (pre_conv)
  std::vector<float> pre_conv_weight, pre_conv_bias;  // [c, d], [d]

  std::vector<float> attn_norm;                            // [d]
  PackedMatrix attn_q, attn_k, attn_v, gate, attn_output;  // [d, d]; attn_k and gate may be absent
  std::vector<float> conv_q_weight, conv_q_bias;           // [c, d], [d] (share_qk)
  std::vector<float> conv_k_weight, conv_k_bias;

  PackedMatrix lr_weight;                                 // [H, d]
  std::vector<float> lr_bias;                             // [H]
  std::vector<float> token_eta;                           // [K], tau = max(0, 1/(i+1) + token_idx[i])
  std::vector<float> initial_fast_weights;                // W1 [H, f, m'], b1 [H, m'], W2, b2: as in a state
  std::vector<float> inner_norm_weight, inner_norm_bias;  // [H, f]
  std::vector<float> post_norm_weight, post_norm_bias;    // [d]

  std::vector<float> ffn_norm;              // [d]
  PackedMatrix ffn_gate, ffn_up, ffn_down;  // [m, d], [m, d], [d, m]
};

struct CpuWeights {
  ModelConfig config;
  std::vector<CpuLayerWeights> layers;
  std::vector<float> output_norm;  // [d]
  PackedMatrix output;             // [V, d]
  std::vector<float> rope_table;   // [K, f/2] pairs (cos, sin)
  std::size_t bytes = 0;           // of all of them

  // Packs tensor by tensor and lets go of the pages that each was read from, or fetches it into one buffer,
  // so that the file and the packed weights are never in memory together; or, with a cache, maps what was
  // packed before. `model` must outlive the weights. Throws std::bad_alloc, and what the model's fetch
  // throws.
  CpuWeights(const Model& model, ThreadPool& pool, const std::optional<PackedCacheOptions>& cache = {});

  // `bytes` of such a model's weights, without packing them.
  static std::uint64_t planned_bytes(const Model& model);
  // What packing them takes beside that: the largest weight, where the model fetches weights.
  static std::uint64_t planned_fetch_bytes(const Model& model);

  void read_embedding(TokenId id, float* to) const;  // [d]

 private:
  std::vector<const PackedMatrix*> list_matrices() const;

  weights::TensorView token_embd_;       // [V, d]; without bytes where the output head is the same
  std::vector<std::byte> fetched_embd_;  // its bytes, where the model fetches them
  // All matrices, in one or the other.
  LargeBuffer packed_;
  std::optional<PackedFile> packed_file_;
};

}  // namespace ttt::cpu
