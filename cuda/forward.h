// SPDX-License-Identifier: Apache-2.0
// The model, in order, over all segments of a batch: embed, block (ttt_layer, feed_forward), head. The same
// functions in the same order as cpu/forward.h; each puts kernels on the stream and returns.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "cuda/cuda_backend.h"
#include "cuda/device_memory.h"
#include "cuda/device_weights.h"
#include "cuda/inner_kernel.h"
#include "cuda/kernels/draw.h"
#include "cuda/kernels/operand_rows.h"
#include "cuda/kernels/step_tables.h"
#include "cuda/kernels/ttt_prefill.h"
#include "cuda/products.h"
#include "cuda/state_pool.h"

namespace ttt::cuda {

inline constexpr std::size_t kHeadRows = 64;  // rows of logits at a time: 8 MiB at a vocabulary of 32,000

// Scratch of one step, T = max_batch_tokens rows; nothing survives from one step to the next.
struct Workspace {
  float* x = nullptr;                              // [T, d] residual stream
  float* h = nullptr;                              // [T, d] normalised input of a sub-layer
  float* branch = nullptr;                         // [T, d] what a sub-layer adds to x; before that its input
  float* xq = nullptr;                             // [T, d] projection before the convolutions
  float* gate = nullptr;                           // [T, d] of the inner loop's output
  float *q = nullptr, *k = nullptr, *v = nullptr;  // [T, d]
  float* alpha = nullptr;                          // [T, H] inner learning rates
  OperandRows inner_out;                           // [T, d] of the inner loop
  float *ffn_gate = nullptr, *ffn_up = nullptr;    // [T, m]
  float* ffn_hidden = nullptr;                     // [T, m] input of ffn_down
  float* losses = nullptr;                         // [T, L, H]
  float* logits = nullptr;                         // [kHeadRows, V]
  // Operands of the inner loop on tensor cores, bf16; null without it
  std::uint16_t *inner_q = nullptr, *inner_k = nullptr, *inner_target = nullptr;  // [T, d]
  // The batch
  RowEntry* rows = nullptr;          // [T]
  SegmentEntry* segments = nullptr;  // [slots]
  OutputEntry* outputs = nullptr;    // [T]
  // Drawing from rows of logits, D = min(kHeadRows, slots) at a time
  DrawEntry* draws = nullptr;        // [slots]
  float* adjusted_logits = nullptr;  // [D, V]
  double* token_weights = nullptr;   // [D, V]

  Workspace(const ModelConfig& config, const CudaOptions& options, DeviceArena& arena);
};

class Forward {
 public:
  // `weights` and `work` are those of this precision; `library` may be null. REQUIRES: inner_kernel() is not
  // kNone.
  Forward(const DeviceWeights& weights, const StatePool& states, const Workspace& work, Precision precision,
          const LibraryProducts* library, cudaStream_t stream);

  // Reads every segment into its slot, as the tables of the workspace say; afterwards head() gives logits of
  // its rows, and work.losses holds the inner losses of those segments that want them.
  void run(std::size_t num_segments, std::size_t num_rows);

  // Logits of the rows that outputs [first, first + count) name, count <= kHeadRows, into work.logits.
  void head(std::size_t first, std::size_t count);

 private:
  void embed();
  void block(std::size_t layer);
  void pre_conv(const DeviceLayerWeights& w, const StateOffsets& state);
  void norm_tokens(const DeviceLayerWeights& w, const StateOffsets& state);
  void ttt_layer(const DeviceLayerWeights& w, const StateOffsets& state, std::size_t layer);
  void project(const DeviceLayerWeights& w);
  void convolve_qk(const DeviceLayerWeights& w, const StateOffsets& state);
  void rotate();
  void learning_rates(const DeviceLayerWeights& w);
  void inner_loop(const DeviceLayerWeights& w, const StateOffsets& state, std::size_t layer);
  void inner_loop_exact(const DeviceLayerWeights& w, const StateOffsets& state, std::size_t layer);
  void inner_loop_prefill(const DeviceLayerWeights& w, const StateOffsets& state, std::size_t layer);
  void gate_and_project(const DeviceLayerWeights& w);
  void feed_forward(const DeviceLayerWeights& w);

  // Rows in `buffer`, in the type that the matrix multiplies.
  static OperandRows operands_of(const Matrix& weight, void* buffer) {
    return {.data = buffer, .type = weight.operands};
  }
  void norm_rows(const float* weight, const OperandRows& out);
  // y = x W^T and residual stream += y W^T, for operands of the matrix's type.
  void product(const Matrix& weight, const void* x, std::size_t num_rows, float* y);
  void add_product(const Matrix& weight, const void* y);
  void convolve(std::size_t history, const float* x, const float* weight, const float* bias, float* y);
  void advance_history(std::size_t history, const float* x);
  void add_branch();  // x += branch

  float rate_scale() const { return config_.ttt_base_lr / static_cast<float>(head_size_); }
  // Whether the inner loop makes its operands itself.
  bool makes_tokens() const { return decodes_ && config_.share_qk; }
  TokenOperands token_operands(const DeviceLayerWeights& w, const StateOffsets& state) const;

  const DeviceWeights& weights_;
  const ModelConfig& config_;
  const StatePool& states_;
  const Workspace work_;
  cudaStream_t stream_;
  Products products_;
  InnerKernel inner_kernel_;
  // Of the configuration, as kernels count
  std::uint32_t width_, heads_, head_size_, inner_size_, mini_batch_size_, taps_, rows_per_run_;
  // Of the running batch
  std::uint32_t num_segments_ = 0;
  std::uint32_t num_rows_ = 0;
  bool decodes_ = false;  // every segment is one token, and the inner loop's operands are 16 bits wide
};

}  // namespace ttt::cuda
