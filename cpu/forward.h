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
  AlignedFloats xq;            // [T, d] projection before the convolutions
  AlignedFloats q, k, v;       // [T, d]
  AlignedFloats gate;          // [T, d] (use_gate)
  AlignedFloats alpha;         // [T, H] inner learning rates
  AlignedFloats ffn_gate;      // [T, m]
  AlignedFloats ffn_up;        // [T, m]
  AlignedFloats losses;        // [T, L, H]
  AlignedFloats logits;        // [kHeadRows, V]
  AlignedFloats gemm_scratch;  // [threads, kGemmScratch]
  // Inputs of the next products, where their weights are in blocks; else never touched, so that it takes no
  // memory.
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
  // Consecutive channels of rows [T, d], such as a head's.
  struct Channels {
    std::size_t begin, end;
  };

  // fn(row) for every row, shared by the threads.
  template <typename Fn>
  void for_rows(std::size_t row_work, Fn&& fn);
  void embed();
  void block(std::size_t layer);
  void pre_conv(const CpuLayerWeights& w, std::size_t layer);
  void ttt_layer(const CpuLayerWeights& w, std::size_t layer);
  void project(const CpuLayerWeights& w);
  void learning_rates(const CpuLayerWeights& w, const GemmInputs& h, std::size_t begin, std::size_t end,
                      std::size_t thread);
  void inner_loop(const CpuLayerWeights& w, std::size_t layer);
  void convolve_qk(const CpuLayerWeights& w, std::size_t layer, const ResolvedSegment& segment,
                   Channels channels);
  void rotate(const ResolvedSegment& segment, Channels channels);
  InnerLoopHead head_of(const CpuLayerWeights& w, const LayerState& state, std::size_t head) const;
  InnerLoopRows rows_of(const ResolvedSegment& segment, std::size_t layer, std::size_t head);
  void gate_and_project(const CpuLayerWeights& w);
  void feed_forward(const CpuLayerWeights& w);
  void multiply_gate(const GemmInputs& hidden, bool quantises);

  GemmInputs inputs(const AlignedFloats& x, std::size_t num_rows, std::size_t width);
  void products(std::span<const Product> list, const GemmInputs& x);
  void add_branch(std::size_t row);  // x += branch, once a row behind each sub-layer
  void norm_row(const std::vector<float>& weight, std::size_t row);  // h = RMS(x), after add_branch()

  void fetch_history_of(float* LayerState::*history, std::size_t layer, const ResolvedSegment& segment,
                        Channels channels);

  // Calls fn(ConvInput, offset of the segment's first row in a [T, d] buffer), then moves the history on.
  template <typename Fn>
  void with_history(float* LayerState::*history, std::size_t layer, const ResolvedSegment& segment,
                    const float* x, Channels channels, Fn&& fn);

  const CpuWeights& weights_;
  const ModelConfig& config_;
  StatePool& states_;
  ThreadPool& pool_;
  Workspace work_;
  void (*inner_model_)(const InnerLoopHead&, const InnerLoopRows&, float*);
  std::size_t group_heads_;  // consecutive heads that belong to one thread, as far as all take as long
  // Of the running batch.
  std::span<const ResolvedSegment> segments_;
  std::size_t num_rows_ = 0;
  bool single_tokens_ = false;  // one row in each segment
  bool has_branch_ = false;     // from the first sub-layer on: what follows one begins with add_branch()
};

}  // namespace ttt::cpu
