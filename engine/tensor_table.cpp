// SPDX-License-Identifier: Apache-2.0
#include "engine/tensor_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace ttt {
namespace {

using enum Extent;
using enum JaxAxes;
using W = LayerWeights;

std::uint64_t extent_of(Extent extent, const ModelConfig& config) {
  switch (extent) {
    case kOne:
      return 1;
    case kVocab:
      return config.vocab_size;
    case kWidth:
      return config.hidden_size;
    case kFeedForward:
      return config.intermediate_size;
    case kHeads:
      return config.num_attention_heads;
    case kHeadSize:
      return config.head_size();
    case kInner:
      return config.inner_size();
    case kMiniBatch:
      return config.mini_batch_size;
    case kConv:
      return config.conv_kernel;
  }
  return 0;
}

}  // namespace

const std::vector<ModelTensor>& model_tensors() {
  static const std::vector<ModelTensor> table = {
      // clang-format off
      {"token_embd.weight", "model.embed_tokens.weight", "model/wte/embedding",
       kSame, &Model::token_embd, {kVocab, kWidth}, true},
      {"output_norm.weight", "model.norm.weight", "model/ln_f/kernel",
       kSame, &Model::output_norm, {kWidth}, false},
      {"output.weight", "lm_head.weight", "lm_head/kernel",
       kReversed, &Model::output, {kVocab, kWidth}, true},
      // clang-format on
  };
  return table;
}

const std::vector<LayerTensor>& layer_tensors() {
  static const std::vector<LayerTensor> table = {
      // clang-format off
      {"ttt_pre_conv_norm.weight", "conv.norm.weight", "conv/conv_norm/kernel",
       kSame, &W::pre_conv_norm, {kWidth}, When::kPreConv, false},
      {"ttt_pre_conv.weight", "conv.conv.weight", "conv/conv1/kernel",
       kReversed, &W::pre_conv_weight, {kWidth, kOne, kConv}, When::kPreConv, false},
      {"ttt_pre_conv.bias", "conv.conv.bias", "conv/conv1/bias",
       kSame, &W::pre_conv_bias, {kWidth}, When::kPreConv, false},
      {"attn_norm.weight", "seq_norm.weight", "seq_norm/kernel",
       kSame, &W::attn_norm, {kWidth}, When::kAlways, false},
      {"attn_q.weight", "seq_modeling_block.q_proj.weight", "seq_modeling_block/wq/kernel",
       kReversed, &W::attn_q, {kWidth, kWidth}, When::kAlways, true},
      {"attn_k.weight", "seq_modeling_block.k_proj.weight", "seq_modeling_block/wk/kernel",
       kReversed, &W::attn_k, {kWidth, kWidth}, When::kSeparateQk, true},
      {"attn_v.weight", "seq_modeling_block.v_proj.weight", "seq_modeling_block/wv/kernel",
       kReversed, &W::attn_v, {kWidth, kWidth}, When::kAlways, true},
      {"attn_output.weight", "seq_modeling_block.o_proj.weight", "seq_modeling_block/wo/kernel",
       kReversed, &W::attn_output, {kWidth, kWidth}, When::kAlways, true},
      {"ttt_gate.weight", "seq_modeling_block.g_proj.weight", "seq_modeling_block/wg/kernel",
       kReversed, &W::gate, {kWidth, kWidth}, When::kGate, true},
      {"ttt_conv_q.weight", "seq_modeling_block.conv_q.weight", "seq_modeling_block/conv_q/kernel",
       kReversed, &W::conv_q_weight, {kWidth, kOne, kConv}, When::kShareQk, false},
      {"ttt_conv_q.bias", "seq_modeling_block.conv_q.bias", "seq_modeling_block/conv_q/bias",
       kSame, &W::conv_q_bias, {kWidth}, When::kShareQk, false},
      {"ttt_conv_k.weight", "seq_modeling_block.conv_k.weight", "seq_modeling_block/conv_k/kernel",
       kReversed, &W::conv_k_weight, {kWidth, kOne, kConv}, When::kShareQk, false},
      {"ttt_conv_k.bias", "seq_modeling_block.conv_k.bias", "seq_modeling_block/conv_k/bias",
       kSame, &W::conv_k_bias, {kWidth}, When::kShareQk, false},
      {"ttt_lr.weight", "seq_modeling_block.learnable_ttt_lr_weight",
       "seq_modeling_block/learnable_ttt_lr/kernel",
       kLastTwoSwapped, &W::lr_weight, {kHeads, kOne, kWidth}, When::kAlways, false},
      {"ttt_lr.bias", "seq_modeling_block.learnable_ttt_lr_bias", "seq_modeling_block/learnable_ttt_lr/bias",
       kSame, &W::lr_bias, {kHeads, kOne}, When::kAlways, false},
      {"ttt_token_idx.weight", "seq_modeling_block.learnable_token_idx",
       "seq_modeling_block/learnable_token_idx",
       kSame, &W::token_idx, {kMiniBatch}, When::kAlways, false},
      {"ttt_inner_1.weight", "seq_modeling_block.W1", "seq_modeling_block/ttt_dense_0",
       kSame, &W::inner_1_weight, {kHeads, kHeadSize, kInner}, When::kAlways, false},
      {"ttt_inner_1.bias", "seq_modeling_block.b1", "seq_modeling_block/ttt_bias_0",
       kSame, &W::inner_1_bias, {kHeads, kOne, kInner}, When::kAlways, false},
      {"ttt_inner_2.weight", "seq_modeling_block.W2", "seq_modeling_block/ttt_dense_1",
       kSame, &W::inner_2_weight, {kHeads, kInner, kHeadSize}, When::kMlp, false},
      {"ttt_inner_2.bias", "seq_modeling_block.b2", "seq_modeling_block/ttt_bias_1",
       kSame, &W::inner_2_bias, {kHeads, kOne, kHeadSize}, When::kMlp, false},
      {"ttt_inner_norm.weight", "seq_modeling_block.ttt_norm_weight", "seq_modeling_block/ttt_norm/scale",
       kSame, &W::inner_norm_weight, {kHeads, kHeadSize}, When::kAlways, false},
      {"ttt_inner_norm.bias", "seq_modeling_block.ttt_norm_bias", "seq_modeling_block/ttt_norm/bias",
       kSame, &W::inner_norm_bias, {kHeads, kHeadSize}, When::kAlways, false},
      {"ttt_post_norm.weight", "seq_modeling_block.post_norm.weight", "seq_modeling_block/post_norm/scale",
       kSame, &W::post_norm_weight, {kWidth}, When::kAlways, false},
      {"ttt_post_norm.bias", "seq_modeling_block.post_norm.bias", "seq_modeling_block/post_norm/bias",
       kSame, &W::post_norm_bias, {kWidth}, When::kAlways, false},
      {"ffn_norm.weight", "ffn_norm.weight", "ffn_norm/kernel",
       kSame, &W::ffn_norm, {kWidth}, When::kAlways, false},
      {"ffn_gate.weight", "mlp.gate_proj.weight", "feed_forward/w1/kernel",
       kReversed, &W::ffn_gate, {kFeedForward, kWidth}, When::kAlways, true},
      {"ffn_up.weight", "mlp.up_proj.weight", "feed_forward/w3/kernel",
       kReversed, &W::ffn_up, {kFeedForward, kWidth}, When::kAlways, true},
      {"ffn_down.weight", "mlp.down_proj.weight", "feed_forward/w2/kernel",
       kReversed, &W::ffn_down, {kWidth, kFeedForward}, When::kAlways, true},
      // clang-format on
  };
  return table;
}

const LayerTensor& row_of(weights::TensorView LayerWeights::*view) {
  return *std::ranges::find(layer_tensors(), view, &LayerTensor::view);
}

const ModelTensor& row_of(weights::TensorView Model::*view) {
  return *std::ranges::find(model_tensors(), view, &ModelTensor::view);
}

bool applies(When when, const ModelConfig& config) {
  switch (when) {
    case When::kAlways:
      return true;
    case When::kPreConv:
      return config.pre_conv;
    case When::kShareQk:
      return config.share_qk;
    case When::kSeparateQk:
      return !config.share_qk;
    case When::kGate:
      return config.use_gate;
    case When::kMlp:
      return config.is_mlp();
  }
  return false;
}

std::string_view field_of(When when) {
  switch (when) {
    case When::kPreConv:
      return "pre_conv";
    case When::kShareQk:
    case When::kSeparateQk:
      return "share_qk";
    case When::kGate:
      return "use_gate";
    case When::kMlp:
      return "ttt_layer_type";
    case When::kAlways:
      break;
  }
  return "";
}

weights::Shape resolve(const std::vector<Extent>& extents, const ModelConfig& config, bool keep_ones) {
  weights::Shape shape;
  for (const Extent extent : extents) {
    if (extent != kOne || keep_ones) shape.push_back(extent_of(extent, config));
  }
  return shape;
}

weights::Shape in_jax(JaxAxes axes, weights::Shape shape) {
  if (axes == JaxAxes::kReversed) std::ranges::reverse(shape);
  if (axes == JaxAxes::kLastTwoSwapped) std::swap(shape[shape.size() - 2], shape.back());
  return shape;
}

std::string gguf_name(const LayerTensor& tensor, std::size_t layer) {
  return fmt::format("blk.{}.{}", layer, tensor.gguf);
}
std::string hf_name(const LayerTensor& tensor, std::size_t layer) {
  return fmt::format("model.layers.{}.{}", layer, tensor.hf);
}
std::string jax_name(const LayerTensor& tensor, std::size_t layer) {
  return fmt::format("model/h/{}/{}", layer, tensor.jax);
}

}  // namespace ttt
