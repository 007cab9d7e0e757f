// SPDX-License-Identifier: Apache-2.0
// The model, in order, over all segments of a batch: embed, block (ttt_layer, feed_forward), head.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "cpu/aligned_floats.h"
#include "cpu/cpu_weights.h"
#include "cpu/gemm.h"
#include "cpu/inner_loop.h"
#include "cpu/state_pool.h"
#include "cpu/thread_pool.h"
#include "engine/batch.h"

namespace ttt::cpu {

// A segment whose input ids are known, and where its rows lie in the workspace.
struct ResolvedSegment {
  Segment segment;
  std::span<const TokenId> tokens;
  std::size_t first_row = 0;
};

// Scratch of one step, T = max_batch_tokens rows; nothing survives from one step to the next.
struct Workspace {
  AlignedFloats x;             // [T, d] residual stream
  AlignedFloats h;             // [T, d] normalised input of a sub-layer
  AlignedFloats branch;        // [T, d] what a sub-layer adds to x; before that its input
  AlignedFloats xq;            // [T, d] projection before the convolutions; the gate after them
  AlignedFloats q, k, v;       // [T, d]
  AlignedFloats alpha;         // [T, H] inner learning rates
  AlignedFloats ffn_gate;      // [T, m]
  AlignedFloats ffn_up;        // [T, m]
  AlignedFloats losses;        // [T, L, H]
  AlignedFloats logits;        // [kHeadRows, V]
  AlignedFloats gemm_scratch;  // [threads, kGemmScratch]
  // Inputs of the product that is running, where its weights are in blocks; else never touched, so that it
  // takes no memory.
  QuantisedBuffer quantised;
  AlignedFloats inner_scratch;  // [threads, inner_loop_scratch_floats]
  std::size_t inner_scratch_stride = 0;

  Workspace(const ModelConfig& config, std::size_t max_batch_tokens, std::size_t num_threads);

  // Of such a workspace, without making one.
  static std::size_t bytes(const ModelConfig& config, std::size_t max_batch_tokens, std::size_t num_threads);

 private:
  struct Extent {
    AlignedFloats Workspace::*buffer;
    std::size_t floats;
  };
  static std::vector<Extent> extents(const ModelConfig& config, std::size_t max_batch_tokens,
                                     std::size_t num_threads);
};

inline constexpr std::size_t kHeadRows = 32;  // rows of logits at a time: 4 MiB at a vocabulary of 32,000

class Forward {
 public:
  Forward(const CpuWeights& weights, StatePool& states, ThreadPool& pool, std::size_t max_batch_tokens);

  // Reads every segment into its slot; afterwards head() gives logits of its rows and losses() the inner
  // losses of those segments that want them.
  void run(std::span<const ResolvedSegment> segments);

  // Logits of up to kHeadRows rows of the batch just run, by their workspace rows: [rows, V].
  std::span<const float> head(std::span<const std::size_t> rows);

  std::span<const float> losses(std::size_t first_row, std::size_t num_rows) const;

 private:
  void embed();
  void block(std::size_t layer);
  void pre_conv(const CpuLayerWeights& w, std::size_t layer);
  void ttt_layer(const CpuLayerWeights& w, std::size_t layer);
  void project_qkv(const CpuLayerWeights& w, std::size_t layer, GemmInputs& h);
  void learning_rates(const CpuLayerWeights& w, GemmInputs& h);
  void rotate();
  void inner_loop(const CpuLayerWeights& w, std::size_t layer);
  InnerLoopHead head_of(const CpuLayerWeights& w, const LayerState& state, std::size_t head) const;
  InnerLoopRows rows_of(const ResolvedSegment& segment, std::size_t layer, std::size_t head);
  void gate_and_project(const CpuLayerWeights& w, GemmInputs& h);
  void feed_forward(const CpuLayerWeights& w);

  GemmInputs inputs(const AlignedFloats& x, std::size_t num_rows, std::size_t width);
  void product(const PackedMatrix& w, GemmInputs& x, AlignedFloats& y);  // y = x w^T
  void norm_rows(const std::vector<float>& weight, const float* x, float* out);
  void add_branch();  // x += branch

  struct Channels {
    std::size_t begin, end;
  };
  // Calls convolve_channels(ConvInput, Channels, offset of the segment's first row in a [T, d] buffer) for
  // every segment, then moves its history on.
  template <typename Convolve>
  void convolve(float* LayerState::*history, std::size_t layer, const float* x, Convolve&& convolve_channels);

  const CpuWeights& weights_;
  const ModelConfig& config_;
  StatePool& states_;
  ThreadPool& pool_;
  Workspace work_;
  void (*inner_model_)(const InnerLoopHead&, const InnerLoopRows&, float*);
  std::span<const ResolvedSegment> segments_;  // of the running batch
  std::size_t num_rows_ = 0;
};

}  // namespace ttt::cpu
