// SPDX-License-Identifier: Apache-2.0
// The model in double precision, one token at a time, straight from docs/ttt.md: the fast weights that a
// token reads through are written out. No dual form, no batch, nothing of a backend. Slow, for `ttt
// selftest`.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/model.h"
#include "tokenizer/tokenizer.h"

namespace ttt::cli {

class Float64Model {
 public:
  using Vector = std::vector<double>;

  // Copies the weights, 8 bytes each; those of blocks as the values that they stand for.
  explicit Float64Model(const Model& model);

  Vector read(tokenizer::TokenId token);  // logits, [V]
  Vector state() const;                   // in the order of engine/state_layout.h

 private:
  struct Inner {            // the inner model of one head
    Vector W1, b1, W2, b2;  // [f, m'], [m'], [m', f], [f]
  };
  struct Example {  // what one token taught one head; gradients are multiplied by its alpha
    Vector key, hidden, gradient_1, gradient_2;
  };
  struct Layer {
    Vector pre_conv_norm, pre_conv_weight, pre_conv_bias, attn_norm, attn_q, attn_k, attn_v, gate,
        attn_output, conv_q_weight, conv_q_bias, conv_k_weight, conv_k_bias, lr_weight, lr_bias, token_idx,
        inner_norm_weight, inner_norm_bias, post_norm_weight, post_norm_bias, ffn_norm, ffn_gate, ffn_up,
        ffn_down;
    std::vector<Inner> committed;                         // [H]
    std::vector<std::vector<Example>> open;               // [H][p]
    std::vector<Vector> pre_conv_inputs, qk_conv_inputs;  // rows [d], from c-1 zero rows on
  };

  static Inner taught(const Inner& inner, const std::vector<Example>& examples, double token_eta);
  Layer copy_of(const LayerWeights& weights) const;
  Vector mixer(Layer& layer, const Vector& h) const;
  Vector head_output(Layer& layer, std::size_t head, const Vector& q, const Vector& k, const Vector& v,
                     double alpha) const;
  Vector rope(Vector x) const;
  std::size_t phase() const { return position_ % config_.mini_batch_size; }

  ModelConfig config_;
  Vector embedding_, output_norm_, output_;
  std::vector<Layer> layers_;
  std::size_t position_ = 0;
};

// All weights are F32, F16 or BF16: no backend rounds what it multiplies with them to fewer bits.
bool is_float_model(const Model& model);

}  // namespace ttt::cli
