// SPDX-License-Identifier: Apache-2.0
#include "cuda/forward.h"

#include <algorithm>
#include <array>
#include <span>

#include "cuda/kernels/conv.h"
#include "cuda/kernels/decode_pre_conv.h"
#include "cuda/kernels/inner_loop_exact.h"
#include "cuda/kernels/product_few.h"
#include "cuda/kernels/ttt_linear_prefill.h"
#include "cuda/kernels/ttt_mlp_prefill.h"
#include "engine/state_layout.h"

namespace ttt::cuda {

Workspace::Workspace(const ModelConfig& config, const CudaOptions& options, DeviceArena& arena) {
  const std::size_t T = options.max_batch_tokens;
  for (float** buffer : {&x, &h, &branch, &xq, &gate, &q, &k, &v})
    *buffer = arena.take<float>(T * config.hidden_size);
  for (float** buffer : {&ffn_gate, &ffn_up, &ffn_hidden})
    *buffer = arena.take<float>(T * config.intermediate_size);
  alpha = arena.take<float>(T * config.num_attention_heads);
  inner_out = {.data = branch, .type = OperandType::kF32};
  if (inner_kernel(config, options.precision) == InnerKernel::kPrefill) {
    for (std::uint16_t** buffer : {&inner_q, &inner_k, &inner_target})
      *buffer = arena.take<std::uint16_t>(T * config.hidden_size);
    inner_out = {.data = arena.take<std::uint16_t>(T * config.hidden_size), .type = OperandType::kBF16};
  }
  losses = arena.take<float>(T * config.num_hidden_layers * config.num_attention_heads);
  logits = arena.take<float>(std::min(kHeadRows, T) * config.vocab_size);
  rows = arena.take<RowEntry>(T);
  segments = arena.take<SegmentEntry>(options.num_slots);
  outputs = arena.take<OutputEntry>(T);
  draws = arena.take<DrawEntry>(options.num_slots);
  const std::size_t drawn_logits = std::min(kHeadRows, options.num_slots) * config.vocab_size;
  adjusted_logits = arena.take<float>(drawn_logits);
  token_weights = arena.take<double>(drawn_logits);
}

Forward::Forward(const DeviceWeights& weights, const StatePool& states, const Workspace& work,
                 Precision precision, const LibraryProducts* library, cudaStream_t stream)
    : weights_(weights),
      config_(weights.config),
      states_(states),
      work_(work),
      stream_(stream),
      products_(stream, library),
      inner_kernel_(cuda::inner_kernel(config_, precision)),
      width_(static_cast<std::uint32_t>(config_.hidden_size)),
      heads_(static_cast<std::uint32_t>(config_.num_attention_heads)),
      head_size_(static_cast<std::uint32_t>(config_.head_size())),
      inner_size_(static_cast<std::uint32_t>(config_.inner_size())),
      mini_batch_size_(static_cast<std::uint32_t>(config_.mini_batch_size)),
      taps_(static_cast<std::uint32_t>(config_.conv_kernel)),
      rows_per_run_(inner_loop_rows_per_run(head_size_, inner_size_, mini_batch_size_, config_.is_mlp())) {}

void Forward::run(std::size_t num_segments, std::size_t num_rows) {
  num_segments_ = static_cast<std::uint32_t>(num_segments);
  num_rows_ = static_cast<std::uint32_t>(num_rows);
  decodes_ = num_rows == num_segments && inner_kernel_ == InnerKernel::kPrefill;
  embed();
  for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) block(layer);
}

// x = E[ids]
void Forward::embed() {
  launch_embed({.rows = work_.rows, .table = weights_.token_embd, .x = work_.x, .num_rows = num_rows_},
               stream_);
}

void Forward::block(std::size_t layer) {
  const DeviceLayerWeights& w = weights_.layers[layer];
  const StateOffsets state = states_.layer(layer);
  if (config_.pre_conv && decodes_) {
    norm_tokens(w, state);
  } else {
    if (config_.pre_conv) pre_conv(w, state);
    norm_rows(w.attn_norm, operands_of(w.attn_q, work_.h));
  }
  ttt_layer(w, state, layer);
  feed_forward(w);
}

// x += Conv(RMS(x))
void Forward::pre_conv(const DeviceLayerWeights& w, const StateOffsets& state) {
  norm_rows(w.pre_conv_norm, {.data = work_.h, .type = OperandType::kF32});
  convolve(state.pre_conv, work_.h, w.pre_conv_weight, w.pre_conv_bias, work_.branch);
  advance_history(state.pre_conv, work_.h);
  add_branch();
}

// pre_conv and the norm that follows it, of one token of each segment.
void Forward::norm_tokens(const DeviceLayerWeights& w, const StateOffsets& state) {
  launch_decode_pre_conv({.segments = work_.segments,
                          .history = state.pre_conv,
                          .x = work_.x,
                          .norm_weight = w.pre_conv_norm,
                          .weight = w.pre_conv_weight,
                          .bias = w.pre_conv_bias,
                          .next_norm_weight = w.attn_norm,
                          .out = operands_of(w.attn_q, work_.h),
                          .num_rows = num_rows_,
                          .width = width_,
                          .taps = taps_,
                          .mini_batch_size = mini_batch_size_,
                          .epsilon = config_.rms_norm_eps},
                         stream_);
}

// x += o_proj(gate * post_norm(inner_loop(q, k, v))), from h = RMS(x)
void Forward::ttt_layer(const DeviceLayerWeights& w, const StateOffsets& state, std::size_t layer) {
  project(w);
  if (!makes_tokens()) {
    if (config_.share_qk) convolve_qk(w, state);
    rotate();
    learning_rates(w);
  }
  inner_loop(w, state, layer);
  gate_and_project(w);
}

// Everything that h is multiplied with.
void Forward::project(const DeviceLayerWeights& w) {
  std::array<Product, kMostTogether> products;
  std::size_t count = 0;
  const auto add = [&](const Matrix& weight, float* y) {
    products[count++] = {.weight = weight, .x = work_.h, .y = y, .num_rows = num_rows_};
  };
  add(w.attn_v, work_.v);
  add(w.attn_q, config_.share_qk ? work_.xq : work_.q);
  if (!config_.share_qk) add(w.attn_k, work_.k);
  add(w.lr_weight, work_.alpha);
  if (config_.use_gate) add(w.gate, work_.gate);
  products_.run_together(std::span(products).first(count));
}

// q and k from the projection that they share.
void Forward::convolve_qk(const DeviceLayerWeights& w, const StateOffsets& state) {
  convolve(state.qk_conv, work_.xq, w.conv_q_weight, w.conv_q_bias, work_.q);
  convolve(state.qk_conv, work_.xq, w.conv_k_weight, w.conv_k_bias, work_.k);
  advance_history(state.qk_conv, work_.xq);
}

// RoPE by the position within the mini-batch; for tensor cores also the operands of the inner loop.
void Forward::rotate() {
  const RopeParams rope{.rows = work_.rows,
                        .segments = work_.segments,
                        .table = weights_.rope_table,
                        .q = work_.q,
                        .k = work_.k,
                        .num_rows = num_rows_,
                        .width = width_,
                        .head_size = head_size_,
                        .mini_batch_size = mini_batch_size_};
  if (inner_kernel_ == InnerKernel::kExact) return launch_rope(rope, stream_);
  launch_rope_operands(
      {.rope = rope, .v = work_.v, .q = work_.inner_q, .k = work_.inner_k, .target = work_.inner_target},
      stream_);
}

// alpha = base_lr / f * sigmoid(h . lr_weight + lr_bias)
void Forward::learning_rates(const DeviceLayerWeights& w) {
  launch_rates({.alpha = work_.alpha,
                .bias = w.lr_bias,
                .num_rows = num_rows_,
                .heads = heads_,
                .scale = rate_scale()},
               stream_);
}

// Each (segment, head) is one block: its tokens one after another, from its own fast weights.
void Forward::inner_loop(const DeviceLayerWeights& w, const StateOffsets& state, std::size_t layer) {
  inner_kernel_ == InnerKernel::kPrefill ? inner_loop_prefill(w, state, layer)
                                         : inner_loop_exact(w, state, layer);
}

void Forward::inner_loop_prefill(const DeviceLayerWeights& w, const StateOffsets& state, std::size_t layer) {
  const TttPrefillParams params{.segments = work_.segments,
                                .q = work_.inner_q,
                                .k = work_.inner_k,
                                .target = work_.inner_target,
                                .out = static_cast<std::uint16_t*>(work_.inner_out.data),
                                .row_stride = width_,
                                .alpha = work_.alpha,
                                .losses = work_.losses + layer * heads_,
                                .losses_row_stride = config_.num_hidden_layers * heads_,
                                .token_eta = w.token_eta,
                                .norm_weight = w.inner_norm_weight,
                                .norm_bias = w.inner_norm_bias,
                                .fast_weights = state.fast_weights,
                                .open_rows = state.open_rows,
                                .num_segments = static_cast<std::int32_t>(num_segments_),
                                .num_heads = static_cast<std::int32_t>(heads_),
                                .token = makes_tokens() ? token_operands(w, state) : TokenOperands{}};
  const auto launch = config_.is_mlp() ? launch_ttt_mlp_prefill : launch_ttt_linear_prefill;
  launch(static_cast<int>(head_size_), params, stream_);
}

// What convolve_qk, rotate and learning_rates do for prompts.
TokenOperands Forward::token_operands(const DeviceLayerWeights& w, const StateOffsets& state) const {
  return {.xq = work_.xq,
          .v = work_.v,
          .q = work_.inner_q,
          .history = state.qk_conv,
          .weight_q = w.conv_q_weight,
          .bias_q = w.conv_q_bias,
          .weight_k = w.conv_k_weight,
          .bias_k = w.conv_k_bias,
          .taps = taps_,
          .rope_table = weights_.rope_table,
          .rate_bias = w.lr_bias,
          .rate_scale = rate_scale()};
}

void Forward::inner_loop_exact(const DeviceLayerWeights& w, const StateOffsets& state, std::size_t layer) {
  const InnerLoopParams params{.segments = work_.segments,
                               .q = work_.q,
                               .k = work_.k,
                               .v = work_.v,
                               .out = static_cast<float*>(work_.inner_out.data),
                               .alpha = work_.alpha,
                               .losses = work_.losses,
                               .token_eta = w.token_eta,
                               .norm_weight = w.inner_norm_weight,
                               .norm_bias = w.inner_norm_bias,
                               .fast_weights = state.fast_weights,
                               .open_rows = state.open_rows,
                               .open_row_stride = static_cast<std::uint32_t>(open_row_floats(config_)),
                               .num_segments = num_segments_,
                               .heads = heads_,
                               .head_size = head_size_,
                               .inner_size = inner_size_,
                               .mini_batch_size = mini_batch_size_,
                               .layer = static_cast<std::uint32_t>(layer),
                               .num_layers = static_cast<std::uint32_t>(config_.num_hidden_layers),
                               .rows_per_run = rows_per_run_};
  config_.is_mlp() ? launch_ttt_mlp_exact(params, stream_) : launch_ttt_linear_exact(params, stream_);
}

// x += o_proj(gelu(gate) * LayerNorm(inner_out))
void Forward::gate_and_project(const DeviceLayerWeights& w) {
  launch_gated_norm({.x = work_.inner_out,
                     .weight = w.post_norm_weight,
                     .bias = w.post_norm_bias,
                     .gate = config_.use_gate ? work_.gate : nullptr,
                     .out = operands_of(w.attn_output, work_.q),
                     .num_rows = num_rows_,
                     .width = width_},
                    stream_);
  add_product(w.attn_output, work_.q);
}

// x += (SiLU(u gate^T) * (u up^T)) down^T, u = RMS(x)
void Forward::feed_forward(const DeviceLayerWeights& w) {
  norm_rows(w.ffn_norm, operands_of(w.ffn_gate, work_.h));
  const OperandRows hidden = operands_of(w.ffn_down, work_.ffn_hidden);
  if (!products_.run_gated(
          {.gate = w.ffn_gate, .up = w.ffn_up, .x = work_.h, .out = hidden, .num_rows = num_rows_})) {
    product(w.ffn_gate, work_.h, num_rows_, work_.ffn_gate);
    product(w.ffn_up, work_.h, num_rows_, work_.ffn_up);
    launch_silu_multiply({.gate = work_.ffn_gate,
                          .up = work_.ffn_up,
                          .out = hidden,
                          .size = num_rows_ * config_.intermediate_size},
                         stream_);
  }
  add_product(w.ffn_down, work_.ffn_hidden);
}

// logits = RMS(x) output^T
void Forward::head(std::size_t first, std::size_t count) {
  launch_rms_norm({.x = work_.x,
                   .gather = work_.outputs + first,
                   .weight = weights_.output_norm,
                   .out = operands_of(weights_.output, work_.h),
                   .num_rows = static_cast<std::uint32_t>(count),
                   .width = width_,
                   .epsilon = config_.rms_norm_eps},
                  stream_);
  product(weights_.output, work_.h, count, work_.logits);
}

// out = RMS(x)
void Forward::norm_rows(const float* weight, const OperandRows& out) {
  launch_rms_norm({.x = work_.x,
                   .gather = nullptr,
                   .weight = weight,
                   .out = out,
                   .num_rows = num_rows_,
                   .width = width_,
                   .epsilon = config_.rms_norm_eps},
                  stream_);
}

void Forward::product(const Matrix& weight, const void* x, std::size_t num_rows, float* y) {
  products_.run({.weight = weight, .x = x, .y = y, .num_rows = static_cast<std::uint32_t>(num_rows)});
}

void Forward::add_product(const Matrix& weight, const void* y) {
  products_.run({.weight = weight, .x = y, .y = work_.x, .num_rows = num_rows_, .adds = true});
}

void Forward::convolve(std::size_t history, const float* x, const float* weight, const float* bias,
                       float* y) {
  launch_depthwise_conv({.rows = work_.rows,
                         .segments = work_.segments,
                         .history = history,
                         .x = x,
                         .weight = weight,
                         .bias = bias,
                         .y = y,
                         .num_rows = num_rows_,
                         .width = width_,
                         .taps = taps_},
                        stream_);
}

// The next step needs c-1 rows before its mini-batch and the rows of the open one.
void Forward::advance_history(std::size_t history, const float* x) {
  launch_advance_history({.segments = work_.segments,
                          .history = history,
                          .x = x,
                          .num_segments = num_segments_,
                          .width = width_,
                          .taps = taps_,
                          .mini_batch_size = mini_batch_size_},
                         stream_);
}

void Forward::add_branch() {
  launch_add({.x = work_.x, .y = work_.branch, .size = num_rows_ * config_.hidden_size}, stream_);
}

}  // namespace ttt::cuda
