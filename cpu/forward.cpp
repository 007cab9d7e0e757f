// SPDX-License-Identifier: Apache-2.0
#include "cpu/forward.h"

#include <algorithm>
#include <array>

#include "cpu/gemm.h"
#include "cpu/kernels.h"
#include "engine/mini_batch.h"
#include "engine/state_layout.h"

namespace ttt::cpu {
namespace {

// Operations of one element, for the decision to share the work.
constexpr std::size_t kEmbedWork = 16;  // an embedding: a line of the cache that nothing foresees
constexpr std::size_t kGeluWork = 20;   // a GELU or SiLU
constexpr std::size_t kNormWork = 4;    // a residual and RMSNorm

// Heads whose single tokens one thread reads one after another: their fast weights are neighbours.
constexpr std::size_t kHeadsTogether = 4;

// Of equal groups, at most one for each thread.
std::size_t heads_of_group(std::size_t heads, std::size_t num_threads) {
  std::size_t groups = std::min(heads, num_threads);
  while (heads % groups != 0) --groups;
  return heads / groups;
}

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
  if (config.use_gate) list.push_back({&W::gate, rows * config.hidden_size});
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
      inner_model_(weights.config.is_mlp() ? ttt_mlp : ttt_linear),
      group_heads_(heads_of_group(weights.config.num_attention_heads, pool.num_threads())) {}

void Forward::run(std::span<const ResolvedSegment> segments) {
  segments_ = segments;
  num_rows_ = 0;
  for (const ResolvedSegment& segment : segments) num_rows_ += segment.tokens.size();
  single_tokens_ = num_rows_ == segments.size();
  has_branch_ = false;
  embed();
  for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) block(layer);
  for_rows(config_.hidden_size, [&](std::size_t row) { add_branch(row); });
}

template <typename Fn>
void Forward::for_rows(std::size_t row_work, Fn&& fn) {
  pool_.for_ranges(num_rows_, row_work, [&](std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t row = begin; row < end; ++row) fn(row);
  });
}

// x = E[ids]
void Forward::embed() {
  const std::size_t width = config_.hidden_size;
  pool_.for_ranges(num_rows_, kEmbedWork * width, [&](std::size_t begin, std::size_t end, std::size_t) {
    for (const ResolvedSegment& segment : segments_) {
      const std::size_t last = std::min(end, segment.first_row + segment.tokens.size());
      for (std::size_t row = std::max(begin, segment.first_row); row < last; ++row) {
        weights_.read_embedding(segment.tokens[row - segment.first_row], work_.x.data() + row * width);
      }
    }
  });
}

void Forward::block(std::size_t layer) {
  const CpuLayerWeights& w = weights_.layers[layer];
  if (config_.pre_conv) pre_conv(w, layer);
  ttt_layer(w, layer);
  feed_forward(w);
}

// x += branch, branch = Conv(RMS(x))
void Forward::pre_conv(const CpuLayerWeights& w, std::size_t layer) {
  const std::size_t width = config_.hidden_size;
  const auto convolve = [&](const ResolvedSegment& segment, Channels channels) {
    with_history(&LayerState::pre_conv, layer, segment, work_.h.data(), channels,
                 [&](const ConvInput& input, std::size_t at) {
                   depthwise_conv(input, w.pre_conv_weight, w.pre_conv_bias, channels.begin, channels.end,
                                  work_.branch.data() + at);
                 });
  };
  const std::size_t conv_work = 2 * config_.conv_kernel;
  if (single_tokens_) {
    for_rows((kNormWork + conv_work) * width, [&](std::size_t row) {
      if (row + 1 < num_rows_) {
        fetch_history_of(&LayerState::pre_conv, layer, segments_[row + 1], {0, width});
      }
      norm_row(w.pre_conv_norm, row);
      convolve(segments_[row], {0, width});
    });
  } else {
    for_rows(kNormWork * width, [&](std::size_t row) { norm_row(w.pre_conv_norm, row); });
    pool_.for_ranges(width, conv_work * num_rows_, [&](std::size_t begin, std::size_t end, std::size_t) {
      for (const ResolvedSegment& segment : segments_) convolve(segment, {begin, end});
    });
  }
  has_branch_ = true;
}

// x += branch, branch = o_proj(gate * post_norm(inner_loop(q, k, v)))
void Forward::ttt_layer(const CpuLayerWeights& w, std::size_t layer) {
  project(w);
  inner_loop(w, layer);
  gate_and_project(w);
  has_branch_ = true;
}

// x += branch, h = RMS(x); q, k, v, gate and alpha of every row. Where q and k share a projection, it goes to
// xq.
void Forward::project(const CpuLayerWeights& w) {
  const std::size_t width = config_.hidden_size;
  std::array<Product, ThreadPool::kMaxLists> list{};
  std::size_t size = 0;
  list[size++] = {&w.attn_v, work_.v.data()};
  list[size++] = {&w.attn_q, (config_.share_qk ? work_.xq : work_.q).data()};
  if (!config_.share_qk) list[size++] = {&w.attn_k, work_.k.data()};
  if (config_.use_gate) list[size++] = {&w.gate, work_.gate.data()};
  const std::span<const Product> projections = std::span(list).first(size);
  const GemmInputs h = inputs(work_.h, num_rows_, width);
  const Product rates{&w.lr_weight, work_.alpha.data()};
  const bool quantises = wants_quantised(projections) || wants_quantised({&rates, 1});
  const std::size_t work = (kNormWork + config_.num_attention_heads) * width;
  pool_.for_ranges(num_rows_, work, [&](std::size_t begin, std::size_t end, std::size_t thread) {
    for (std::size_t row = begin; row < end; ++row) {
      norm_row(w.attn_norm, row);
      if (quantises) h.quantise(row);
    }
    learning_rates(w, h, begin, end, thread);
  });
  products(projections, h);
}

// alpha = base_lr / f * sigmoid(h . lr_weight + lr_bias), rows [begin, end)
void Forward::learning_rates(const CpuLayerWeights& w, const GemmInputs& h, std::size_t begin,
                             std::size_t end, std::size_t thread) {
  const std::size_t heads = config_.num_attention_heads;
  const float scale = config_.ttt_base_lr / static_cast<float>(config_.head_size());
  float* alpha = work_.alpha.data() + begin * heads;
  gemm_panels(w.lr_weight, 0, w.lr_weight.num_panels(), h.rows(begin, end), alpha,
              work_.gemm_scratch.data() + thread * kGemmScratch);
  for (std::size_t row = begin; row < end; ++row, alpha += heads) {
    scaled_sigmoid({alpha, heads}, w.lr_bias.data(), scale);
  }
}

// Each (segment, head) is one task: its q and k convolved and rotated, then its tokens one after another,
// from its own fast weights. A thread's tasks are of heads whose channels its products have computed.
void Forward::inner_loop(const CpuLayerWeights& w, std::size_t layer) {
  struct Task {
    const ResolvedSegment& segment;
    std::size_t head;
  };
  const std::size_t f = config_.head_size();
  const std::size_t num_tasks = segments_.size() * config_.num_attention_heads;
  const auto task_at = [&](std::size_t task) -> Task {
    const std::size_t group_tasks = segments_.size() * group_heads_;
    const std::size_t group = task / group_tasks, in_group = task % group_tasks;
    return {segments_[in_group / group_heads_], group * group_heads_ + in_group % group_heads_};
  };
  const auto channels_of = [f](std::size_t head) { return Channels{head * f, (head + 1) * f}; };
  const auto head_at = [&](const Task& task) {
    return head_of(w, states_.layer(task.segment.segment.slot, layer), task.head);
  };
  const auto work = [&](std::size_t begin, std::size_t end, std::size_t thread) {
    for (std::size_t i = begin; i < end; ++i) {
      if (single_tokens_ && i + 1 < num_tasks) {
        const Task next = task_at(i + 1);
        fetch_open_rows(head_at(next), next.segment.segment.position);
        if (config_.share_qk) {
          fetch_history_of(&LayerState::qk_conv, layer, next.segment, channels_of(next.head));
        }
      }
      const Task task = task_at(i);
      const Channels channels = channels_of(task.head);
      if (config_.share_qk) convolve_qk(w, layer, task.segment, channels);
      rotate(task.segment, channels);
      inner_model_(head_at(task), rows_of(task.segment, layer, task.head),
                   work_.inner_scratch.data() + thread * work_.inner_scratch_stride);
    }
  };
  // Two reads through the fast weights and a share of the commit; TTT-MLP has two layers and a way back.
  const std::size_t token_work = 3 * f * config_.inner_size() * (config_.is_mlp() ? 2 : 1);
  pool_.for_pieces(num_tasks, single_tokens_ ? kHeadsTogether : 1, token_work * num_rows_ / segments_.size(),
                   work);
}

// q and k from the projection that they share.
void Forward::convolve_qk(const CpuLayerWeights& w, std::size_t layer, const ResolvedSegment& segment,
                          Channels channels) {
  with_history(&LayerState::qk_conv, layer, segment, work_.xq.data(), channels,
               [&](const ConvInput& input, std::size_t at) {
                 depthwise_conv(input, w.conv_q_weight, w.conv_q_bias, channels.begin, channels.end,
                                work_.q.data() + at);
                 depthwise_conv(input, w.conv_k_weight, w.conv_k_bias, channels.begin, channels.end,
                                work_.k.data() + at);
               });
}

// RoPE of whole heads by the position within the mini-batch.
void Forward::rotate(const ResolvedSegment& segment, Channels channels) {
  const std::size_t width = config_.hidden_size;
  for (std::size_t row = 0; row < segment.tokens.size(); ++row) {
    const std::size_t phase =
        phase_of(segment.segment.position + static_cast<std::int64_t>(row), config_.mini_batch_size);
    const std::size_t at = (segment.first_row + row) * width + channels.begin;
    for (float* const x : {work_.q.data() + at, work_.k.data() + at}) {
      rope(x, channels.end - channels.begin, config_.head_size(), phase, weights_.rope_table);
    }
  }
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

// branch = o_proj(gelu(gate) * LayerNorm(branch))
void Forward::gate_and_project(const CpuLayerWeights& w) {
  const std::size_t width = config_.hidden_size;
  const GemmInputs normed = inputs(work_.q, num_rows_, width);
  const Product output{&w.attn_output, work_.branch.data()};
  const bool quantises = wants_quantised({&output, 1});
  for_rows(kGeluWork * width, [&](std::size_t row) {
    const std::span<const float> o(work_.branch.data() + row * width, width);
    const std::span<float> to(work_.q.data() + row * width, width);
    layer_norm(o, w.post_norm_weight, w.post_norm_bias, to.data());
    if (config_.use_gate) gelu_multiply(to, work_.gate.data() + row * width);
    if (quantises) normed.quantise(row);
  });
  products({&output, 1}, normed);
}

// x += branch, branch = (SiLU(u gate^T) * (u up^T)) down^T, u = RMS(x)
void Forward::feed_forward(const CpuLayerWeights& w) {
  const std::size_t width = config_.hidden_size, inner = config_.intermediate_size;
  const GemmInputs u = inputs(work_.h, num_rows_, width);
  const Product in[] = {{&w.ffn_gate, work_.ffn_gate.data()}, {&w.ffn_up, work_.ffn_up.data()}};
  const bool quantises_u = wants_quantised(in);
  for_rows(kNormWork * width, [&](std::size_t row) {
    norm_row(w.ffn_norm, row);
    if (quantises_u) u.quantise(row);
  });
  products(in, u);
  const GemmInputs hidden = inputs(work_.ffn_gate, num_rows_, inner);
  const Product down{&w.ffn_down, work_.branch.data()};
  multiply_gate(hidden, wants_quantised({&down, 1}));
  products({&down, 1}, hidden);
  has_branch_ = true;
}

// ffn_gate = SiLU(ffn_gate) * ffn_up, in the order in which products share their outputs among the threads:
// groups of rows, and outputs in them.
void Forward::multiply_gate(const GemmInputs& hidden, bool quantises) {
  const std::size_t inner = config_.intermediate_size, num_blocks = hidden.num_blocks();
  const auto multiply = [&](std::size_t row, std::size_t block) {
    const std::size_t first = block * kBlockInputs, at = row * inner + first;
    const std::size_t size = std::min(inner - first, kBlockInputs);
    silu_multiply(std::span(work_.ffn_gate).subspan(at, size), work_.ffn_up.data() + at);
    if (quantises) hidden.quantise(row, block);
  };
  const std::size_t groups = num_row_groups(num_rows_, pool_.num_threads());
  const auto work = [&](std::size_t begin, std::size_t end, std::size_t) {
    for (std::size_t group = 0; group < groups; ++group) {
      const std::size_t row = num_rows_ * group / groups, next_row = num_rows_ * (group + 1) / groups;
      const std::size_t last = std::min(end, next_row * num_blocks);
      for (std::size_t i = std::max(begin, row * num_blocks); i < last; ++i) {
        const std::size_t in_group = i - row * num_blocks, rows = next_row - row;
        multiply(row + in_group % rows, in_group / rows);
      }
    }
  };
  pool_.for_ranges(num_rows_ * num_blocks, kGeluWork * kBlockInputs, work);
}

// logits = RMS(x) output^T
std::span<const float> Forward::head(std::span<const std::size_t> rows) {
  const std::size_t width = config_.hidden_size;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::span<const float> x(work_.x.data() + rows[i] * width, width);
    rms_norm(x, weights_.output_norm, config_.rms_norm_eps, work_.h.data() + i * width);
  }
  const GemmInputs h = inputs(work_.h, rows.size(), width);
  const Product logits{&weights_.output, work_.logits.data()};
  if (wants_quantised({&logits, 1})) h.quantise_all(pool_);
  products({&logits, 1}, h);
  return std::span(work_.logits).first(rows.size() * config_.vocab_size);
}

std::span<const float> Forward::losses(std::size_t first_row, std::size_t num_rows) const {
  const std::size_t stride = config_.num_hidden_layers * config_.num_attention_heads;
  return std::span(work_.losses).subspan(first_row * stride, num_rows * stride);
}

GemmInputs Forward::inputs(const AlignedFloats& x, std::size_t num_rows, std::size_t width) {
  return {x.data(), num_rows, width, work_.quantised};
}

void Forward::products(std::span<const Product> list, const GemmInputs& x) {
  gemm(pool_, list, x, work_.gemm_scratch.data());
}

void Forward::add_branch(std::size_t row) {
  const std::size_t width = config_.hidden_size;
  if (has_branch_) add({work_.x.data() + row * width, width}, work_.branch.data() + row * width);
}

void Forward::norm_row(const std::vector<float>& weight, std::size_t row) {
  const std::size_t width = config_.hidden_size;
  add_branch(row);
  rms_norm({work_.x.data() + row * width, width}, weight, config_.rms_norm_eps, work_.h.data() + row * width);
}

void Forward::fetch_history_of(float* LayerState::*history, std::size_t layer, const ResolvedSegment& segment,
                               Channels channels) {
  const std::size_t phase = phase_of(segment.segment.position, config_.mini_batch_size);
  fetch_history(states_.layer(segment.segment.slot, layer).*history, config_.conv_kernel - 1 + phase,
                config_.conv_kernel, config_.hidden_size, channels.begin, channels.end);
}

template <typename Fn>
void Forward::with_history(float* LayerState::*history, std::size_t layer, const ResolvedSegment& segment,
                           const float* x, Channels channels, Fn&& fn) {
  const std::size_t width = config_.hidden_size;
  float* const past = states_.layer(segment.segment.slot, layer).*history;
  const std::size_t phase = phase_of(segment.segment.position, config_.mini_batch_size);
  const std::size_t at = segment.first_row * width;
  const ConvInput input{past, config_.conv_kernel - 1 + phase, x + at, segment.tokens.size(), width};
  fn(input, at);
  // The next call needs c-1 rows before its mini-batch and the rows of the open one.
  const std::size_t keep = config_.conv_kernel - 1 + (phase + input.num_rows) % config_.mini_batch_size;
  advance_history(past, input.history_rows, input.x, input.num_rows, keep, width, channels.begin,
                  channels.end);
}

}  // namespace ttt::cpu
