// SPDX-License-Identifier: Apache-2.0
#include "cpu/forward.h"

#include <algorithm>

#include "cpu/gemm.h"
#include "cpu/kernels.h"
#include "engine/mini_batch.h"
#include "engine/state_layout.h"

namespace ttt::cpu {
namespace {

constexpr std::size_t kGeluWork = 20;  // operations of a GELU or SiLU, for the decision to share the work

// Whose single tokens one thread reads one after another: their fast weights are neighbours.
constexpr std::size_t kHeadsTogether = 4;

// Of all products.
std::size_t widest_input(const ModelConfig& config) {
  return std::max(config.hidden_size, config.intermediate_size);
}

}  // namespace

std::vector<Workspace::Extent> Workspace::extents(const ModelConfig& config, std::size_t max_batch_tokens,
                                                  std::size_t num_threads) {
  using W = Workspace;
  const std::size_t rows = max_batch_tokens;
  std::vector<Extent> list;
  for (const auto buffer : {&W::x, &W::h, &W::branch, &W::xq, &W::q, &W::k, &W::v}) {
    list.push_back({buffer, rows * config.hidden_size});
  }
  for (const auto buffer : {&W::ffn_gate, &W::ffn_up}) {
    list.push_back({buffer, rows * config.intermediate_size});
  }
  list.push_back({&W::alpha, rows * config.num_attention_heads});
  list.push_back({&W::losses, rows * config.num_hidden_layers * config.num_attention_heads});
  list.push_back({&W::logits, kHeadRows * config.vocab_size});
  list.push_back({&W::gemm_scratch, num_threads * kGemmScratch});
  list.push_back(
      {&W::inner_scratch, num_threads * inner_loop_scratch_floats(config.head_size(), config.inner_size(),
                                                                  config.mini_batch_size)});
  return list;
}

Workspace::Workspace(const ModelConfig& config, std::size_t max_batch_tokens, std::size_t num_threads)
    : quantised(max_batch_tokens, widest_input(config)) {
  for (const auto& [buffer, floats] : extents(config, max_batch_tokens, num_threads)) {
    (this->*buffer).resize(floats);
  }
  inner_scratch_stride = inner_scratch.size() / num_threads;
}

std::size_t Workspace::bytes(const ModelConfig& config, std::size_t max_batch_tokens,
                             std::size_t num_threads) {
  std::size_t bytes = QuantisedBuffer::bytes(max_batch_tokens, widest_input(config));
  for (const Extent& extent : extents(config, max_batch_tokens, num_threads)) {
    bytes += large_buffer_bytes(extent.floats * sizeof(float));
  }
  return bytes;
}

Forward::Forward(const CpuWeights& weights, StatePool& states, ThreadPool& pool, std::size_t max_batch_tokens)
    : weights_(weights),
      config_(weights.config),
      states_(states),
      pool_(pool),
      work_(weights.config, max_batch_tokens, pool.num_threads()),
      inner_model_(weights.config.is_mlp() ? ttt_mlp : ttt_linear) {}

void Forward::run(std::span<const ResolvedSegment> segments) {
  segments_ = segments;
  num_rows_ = 0;
  for (const ResolvedSegment& segment : segments) num_rows_ += segment.tokens.size();
  embed();
  for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) block(layer);
}

// x = E[ids]
void Forward::embed() {
  const std::size_t width = config_.hidden_size;
  for (const ResolvedSegment& segment : segments_) {
    for (std::size_t i = 0; i < segment.tokens.size(); ++i) {
      weights_.read_embedding(segment.tokens[i], work_.x.data() + (segment.first_row + i) * width);
    }
  }
}

void Forward::block(std::size_t layer) {
  const CpuLayerWeights& w = weights_.layers[layer];
  if (config_.pre_conv) pre_conv(w, layer);
  ttt_layer(w, layer);
  feed_forward(w);
}

// x += Conv(RMS(x))
void Forward::pre_conv(const CpuLayerWeights& w, std::size_t layer) {
  norm_rows(w.pre_conv_norm, work_.x.data(), work_.h.data());
  convolve(&LayerState::pre_conv, layer, work_.h.data(),
           [&](const ConvInput& input, Channels channels, std::size_t at) {
             depthwise_conv(input, w.pre_conv_weight, w.pre_conv_bias, channels.begin, channels.end,
                            work_.branch.data() + at);
           });
  add_branch();
}

// x += o_proj(gate * post_norm(inner_loop(q, k, v)))
void Forward::ttt_layer(const CpuLayerWeights& w, std::size_t layer) {
  norm_rows(w.attn_norm, work_.x.data(), work_.h.data());
  GemmInputs h = inputs(work_.h, num_rows_, config_.hidden_size);
  project_qkv(w, layer, h);
  learning_rates(w, h);
  inner_loop(w, layer);
  gate_and_project(w, h);
  add_branch();
}

// q, k, v of every row; q and k convolved where they share a projection, then rotated by their phase.
void Forward::project_qkv(const CpuLayerWeights& w, std::size_t layer, GemmInputs& h) {
  product(w.attn_v, h, work_.v);
  if (config_.share_qk) {
    product(w.attn_q, h, work_.xq);
    convolve(&LayerState::qk_conv, layer, work_.xq.data(),
             [&](const ConvInput& input, Channels channels, std::size_t at) {
               depthwise_conv(input, w.conv_q_weight, w.conv_q_bias, channels.begin, channels.end,
                              work_.q.data() + at);
               depthwise_conv(input, w.conv_k_weight, w.conv_k_bias, channels.begin, channels.end,
                              work_.k.data() + at);
             });
  } else {
    product(w.attn_q, h, work_.q);
    product(w.attn_k, h, work_.k);
  }
  rotate();
}

// RoPE by the position within the mini-batch.
void Forward::rotate() {
  const std::size_t width = config_.hidden_size;
  for (const ResolvedSegment& segment : segments_) {
    pool_.for_ranges(segment.tokens.size(), 4 * width, [&](std::size_t begin, std::size_t end, std::size_t) {
      for (std::size_t row = begin; row < end; ++row) {
        const std::size_t phase =
            phase_of(segment.segment.position + static_cast<std::int64_t>(row), config_.mini_batch_size);
        const std::size_t at = (segment.first_row + row) * width;
        rope(work_.q.data() + at, width, config_.head_size(), phase, weights_.rope_table);
        rope(work_.k.data() + at, width, config_.head_size(), phase, weights_.rope_table);
      }
    });
  }
}

// alpha = base_lr / f * sigmoid(h . lr_weight + lr_bias)
void Forward::learning_rates(const CpuLayerWeights& w, GemmInputs& h) {
  const std::size_t heads = config_.num_attention_heads;
  const float scale = config_.ttt_base_lr / static_cast<float>(config_.head_size());
  h.prepare_for(w.lr_weight, pool_);
  pool_.for_ranges(num_rows_, heads * config_.hidden_size,
                   [&](std::size_t begin, std::size_t end, std::size_t thread) {
                     float* alpha = work_.alpha.data() + begin * heads;
                     gemm_panels(w.lr_weight, 0, w.lr_weight.num_panels(), h.rows(begin, end), alpha,
                                 work_.gemm_scratch.data() + thread * kGemmScratch);
                     for (std::size_t row = begin; row < end; ++row, alpha += heads) {
                       scaled_sigmoid({alpha, heads}, w.lr_bias.data(), scale);
                     }
                   });
}

// Each (segment, head) is one task: its tokens one after another, from its own fast weights.
void Forward::inner_loop(const CpuLayerWeights& w, std::size_t layer) {
  const std::size_t heads = config_.num_attention_heads;
  const std::size_t num_tasks = segments_.size() * heads;
  // Two reads through the fast weights and a share of the commit; TTT-MLP has two layers and a way back.
  const std::size_t token_work = 3 * config_.head_size() * config_.inner_size() * (config_.is_mlp() ? 2 : 1);
  const std::size_t task_work = token_work * num_rows_ / segments_.size();
  const bool single_tokens = num_rows_ == segments_.size();
  const auto head_at = [&](std::size_t task) {
    return head_of(w, states_.layer(segments_[task / heads].segment.slot, layer), task % heads);
  };
  const auto work = [&](std::size_t begin, std::size_t end, std::size_t thread) {
    for (std::size_t task = begin; task < end; ++task) {
      if (single_tokens && task + 1 < num_tasks) {
        fetch_open_rows(head_at(task + 1), segments_[(task + 1) / heads].segment.position);
      }
      inner_model_(head_at(task), rows_of(segments_[task / heads], layer, task % heads),
                   work_.inner_scratch.data() + thread * work_.inner_scratch_stride);
    }
  };
  pool_.for_pieces(num_tasks, single_tokens ? kHeadsTogether : 1, task_work, work);
}

InnerLoopHead Forward::head_of(const CpuLayerWeights& w, const LayerState& state, std::size_t a) const {
  const std::size_t heads = config_.num_attention_heads;
  const std::size_t f = config_.head_size();
  const std::size_t inner = config_.inner_size();
  InnerLoopHead head;
  head.head_size = f;
  head.inner_size = inner;
  head.mini_batch_size = config_.mini_batch_size;
  head.token_eta = w.token_eta;
  head.norm_weight = std::span(w.inner_norm_weight).subspan(a * f, f);
  head.norm_bias = std::span(w.inner_norm_bias).subspan(a * f, f);
  // The order of engine/state_layout.h; the parts of TTT-MLP stay null for TTT-Linear.
  float* at = state.fast_weights;
  const auto take = [&](std::size_t floats_per_head) {
    float* const part = at + a * floats_per_head;
    at += heads * floats_per_head;
    return part;
  };
  head.W1 = take(f * inner);
  head.b1 = take(inner);
  if (config_.is_mlp()) head.W2 = take(inner * f);
  if (config_.is_mlp()) head.b2 = take(f);
  at = state.open_rows;
  head.open_row_stride = open_row_floats(config_);
  head.key = take(f);
  if (config_.is_mlp()) head.hidden = take(inner);
  head.gradient_1 = take(inner);
  if (config_.is_mlp()) head.gradient_2 = take(f);
  return head;
}

InnerLoopRows Forward::rows_of(const ResolvedSegment& segment, std::size_t layer, std::size_t a) {
  const std::size_t width = config_.hidden_size;
  const std::size_t heads = config_.num_attention_heads;
  const std::size_t loss_stride = config_.num_hidden_layers * heads;
  const std::size_t at = segment.first_row * width + a * config_.head_size();
  InnerLoopRows rows;
  rows.position = segment.segment.position;
  rows.num_rows = segment.tokens.size();
  rows.q = work_.q.data() + at;
  rows.k = work_.k.data() + at;
  rows.v = work_.v.data() + at;
  rows.out = work_.branch.data() + at;
  rows.row_stride = width;
  rows.alpha = work_.alpha.data() + segment.first_row * heads + a;
  rows.alpha_stride = heads;
  if (segment.segment.wanted.inner_losses) {
    rows.losses = work_.losses.data() + segment.first_row * loss_stride + layer * heads + a;
  }
  rows.losses_stride = loss_stride;
  return rows;
}

// branch = o_proj(gelu(g_proj(h)) * LayerNorm(branch))
void Forward::gate_and_project(const CpuLayerWeights& w, GemmInputs& h) {
  const std::size_t width = config_.hidden_size;
  if (config_.use_gate) product(w.gate, h, work_.xq);
  pool_.for_ranges(num_rows_, kGeluWork * width, [&](std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t row = begin; row < end; ++row) {
      const std::span<const float> o(work_.branch.data() + row * width, width);
      const std::span<float> normed(work_.q.data() + row * width, width);
      layer_norm(o, w.post_norm_weight, w.post_norm_bias, normed.data());
      if (config_.use_gate) gelu_multiply(normed, work_.xq.data() + row * width);
    }
  });
  GemmInputs normed = inputs(work_.q, num_rows_, width);
  product(w.attn_output, normed, work_.branch);
}

// x += (SiLU(u gate^T) * (u up^T)) down^T, u = RMS(x)
void Forward::feed_forward(const CpuLayerWeights& w) {
  const std::size_t inner = config_.intermediate_size;
  norm_rows(w.ffn_norm, work_.x.data(), work_.h.data());
  GemmInputs u = inputs(work_.h, num_rows_, config_.hidden_size);
  product(w.ffn_gate, u, work_.ffn_gate);
  product(w.ffn_up, u, work_.ffn_up);
  pool_.for_ranges(num_rows_ * inner, kGeluWork, [&](std::size_t begin, std::size_t end, std::size_t) {
    silu_multiply(std::span(work_.ffn_gate).subspan(begin, end - begin), work_.ffn_up.data() + begin);
  });
  GemmInputs hidden = inputs(work_.ffn_gate, num_rows_, inner);
  product(w.ffn_down, hidden, work_.branch);
  add_branch();
}

// logits = RMS(x) output^T
std::span<const float> Forward::head(std::span<const std::size_t> rows) {
  const std::size_t width = config_.hidden_size;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::span<const float> x(work_.x.data() + rows[i] * width, width);
    rms_norm(x, weights_.output_norm, config_.rms_norm_eps, work_.h.data() + i * width);
  }
  GemmInputs h = inputs(work_.h, rows.size(), width);
  product(weights_.output, h, work_.logits);
  return std::span(work_.logits).first(rows.size() * config_.vocab_size);
}

std::span<const float> Forward::losses(std::size_t first_row, std::size_t num_rows) const {
  const std::size_t stride = config_.num_hidden_layers * config_.num_attention_heads;
  return std::span(work_.losses).subspan(first_row * stride, num_rows * stride);
}

GemmInputs Forward::inputs(const AlignedFloats& x, std::size_t num_rows, std::size_t width) {
  return {x.data(), num_rows, width, work_.quantised};
}

void Forward::product(const PackedMatrix& w, GemmInputs& x, AlignedFloats& y) {
  gemm(pool_, w, x, y.data(), work_.gemm_scratch.data());
}

void Forward::norm_rows(const std::vector<float>& weight, const float* x, float* out) {
  const std::size_t width = config_.hidden_size;
  pool_.for_ranges(num_rows_, 3 * width, [&](std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t row = begin; row < end; ++row) {
      rms_norm({x + row * width, width}, weight, config_.rms_norm_eps, out + row * width);
    }
  });
}

template <typename Convolve>
void Forward::convolve(float* LayerState::*history, std::size_t layer, const float* x,
                       Convolve&& convolve_channels) {
  const std::size_t width = config_.hidden_size;
  pool_.for_ranges(
      width, num_rows_ * config_.conv_kernel, [&](std::size_t begin, std::size_t end, std::size_t) {
        for (const ResolvedSegment& segment : segments_) {
          float* const past = states_.layer(segment.segment.slot, layer).*history;
          const std::size_t phase = phase_of(segment.segment.position, config_.mini_batch_size);
          const std::size_t at = segment.first_row * width;
          const ConvInput input{past, config_.conv_kernel - 1 + phase, x + at, segment.tokens.size(), width};
          convolve_channels(input, Channels{begin, end}, at);
          // The next call needs c-1 rows before its mini-batch and the rows of the open one.
          const std::size_t keep =
              config_.conv_kernel - 1 + (phase + input.num_rows) % config_.mini_batch_size;
          advance_history(past, input.history_rows, input.x, input.num_rows, keep, width, begin, end);
        }
      });
}

void Forward::add_branch() {
  pool_.for_ranges(num_rows_ * config_.hidden_size, 1, [&](std::size_t begin, std::size_t end, std::size_t) {
    add(std::span(work_.x).subspan(begin, end - begin), work_.branch.data() + begin);
  });
}

}  // namespace ttt::cpu
