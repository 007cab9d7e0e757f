// SPDX-License-Identifier: Apache-2.0
// Kernels on rows of activations, whatever else is in the batch: embedding, norms, gates, rotations. Symbols
// as in engine/model.h: d width, H heads, f head size, m SwiGLU width, K mini-batch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "cuda/kernels/matrix.h"
#include "cuda/kernels/operand_rows.h"
#include "cuda/kernels/step_tables.h"

namespace ttt::cuda {

// x[row] = table[token of row]
struct EmbedParams {
  const RowEntry* rows;
  Matrix table;  // [V, d]
  float* x;      // [num_rows, d]
  std::uint32_t num_rows;
};
void launch_embed(const EmbedParams& params, cudaStream_t stream);

// out = x * rsqrt(mean(x^2) + epsilon) * weight
struct RmsNormParams {
  const float* x;             // [.., d]
  const OutputEntry* gather;  // rows of x to read; null: row i is x[i]
  const float* weight;        // [d]
  OperandRows out;            // [num_rows, d]
  std::uint32_t num_rows, width;
  float epsilon;
};
void launch_rms_norm(const RmsNormParams& params, cudaStream_t stream);

// out = LayerNorm(x) * gelu(gate), with LayerNorm's gain and bias
struct GatedNormParams {
  OperandRows x;               // [num_rows, d]
  const float *weight, *bias;  // [d]
  const float* gate;           // [num_rows, d]; null: no gate
  OperandRows out;             // [num_rows, d]
  std::uint32_t num_rows, width;
};
void launch_gated_norm(const GatedNormParams& params, cudaStream_t stream);

// x += y
struct AddParams {
  float* x;
  const float* y;
  std::size_t size;
};
void launch_add(const AddParams& params, cudaStream_t stream);

// out = silu(gate) * up
struct SiluMultiplyParams {
  const float *gate, *up;
  OperandRows out;
  std::size_t size;
};
void launch_silu_multiply(const SiluMultiplyParams& params, cudaStream_t stream);

// alpha = scale * sigmoid(alpha + bias)
struct RatesParams {
  float* alpha;       // [num_rows, H]
  const float* bias;  // [H]
  std::uint32_t num_rows, heads;
  float scale;
};
void launch_rates(const RatesParams& params, cudaStream_t stream);

// Rotates the pairs (2i, 2i+1) of every head of q and k by the place of the row in its mini-batch.
struct RopeParams {
  const RowEntry* rows;
  const SegmentEntry* segments;
  const float* table;  // [K, f]: pairs (cos, sin)
  float *q, *k;        // [num_rows, d]
  std::uint32_t num_rows, width, head_size, mini_batch_size;
};
void launch_rope(const RopeParams& params, cudaStream_t stream);

// The same, and the operands of the inner loop on tensor cores: q and k rotated, target = v - k, each rounded
// once to bf16. REQUIRES: head_size even, as ever.
struct RopeOperandsParams {
  RopeParams rope;                // its q and k are only read
  const float* v;                 // [num_rows, d]
  std::uint16_t *q, *k, *target;  // [num_rows, d]
};
void launch_rope_operands(const RopeOperandsParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
