// SPDX-License-Identifier: Apache-2.0
// The oracle: a TTT language model in double precision, one token at a time, straight from the update rule
// W<i> = W - tau[i] * sum over j <= i of alpha_j k_j^T delta_j, with W<i> materialised. No dual form, no
// pending rows in the arithmetic, no shared code with the engine. Obvious and slow.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/config.h"
#include "tokenizer/tokenizer.h"

namespace ttt::naive {

using Vector = std::vector<double>;
using View = std::span<const double>;

double sigmoid(double x);
double silu(double x);
double gelu(double x);  // the tanh form
double gelu_derivative(double x);

Vector product(View x, View matrix);             // x A, A [in, out]
Vector product_transposed(View x, View matrix);  // x A^T, A [out, in]
Vector rms_norm(View x, View gain, double epsilon);
Vector layer_norm(View z, View gain, View bias);  // epsilon 1e-6, biased variance
// Gradient of 1/2 |layer_norm(z) - target|^2 by z.
Vector inner_gradient(View z, View target, View gain, View bias);
// Causal depthwise convolution, output for the last of `inputs` (rows [d]); weight [d, c], bias [d].
Vector conv(const std::vector<Vector>& inputs, View weight, View bias);
Vector rope(View x, std::size_t position, double theta);  // adjacent pairs
Vector log_softmax(View logits);

// Tensors under their Hugging Face names, row-major.
using Tensors = std::map<std::string, Vector>;

// One token of the open mini-batch. Gradients are multiplied by the token's rate alpha.
struct OpenRow {
  Vector key;         // [H, f]
  Vector hidden;      // [H, m'] (MLP)
  Vector gradient_1;  // [H, m']
  Vector gradient_2;  // [H, f] (MLP)
};

struct LayerState {
  std::vector<Vector> pre_conv_inputs, qk_conv_inputs;  // a row [d] for every token ever read
  Vector W1, b1, W2, b2;    // as committed: [H, f, m'], [H, m'], [H, m', f], [H, f]
  Vector G1, gb1, G2, gb2;  // the open mini-batch's summed gradients, same shapes
  std::vector<OpenRow> open_rows;
};

class NaiveModel {
 public:
  NaiveModel(ModelConfig config, Tensors tensors);

  Vector read(tokenizer::TokenId token);                             // logits [V]
  Vector read_all(std::span<const tokenizer::TokenId> tokens);       // logits [tokens, V]
  const Vector& inner_losses() const { return inner_losses_; }       // [tokens read, L, H]
  const std::vector<LayerState>& layers() const { return layers_; }  // [L]
  const ModelConfig& config() const { return config_; }
  Vector canonical_state() const;  // in the order of engine/state_layout.h

 private:
  View tensor(const std::string& name) const;
  View tensor(std::size_t layer, const std::string& name) const;
  View head_of(View tensor, std::size_t head) const;
  Vector block(std::size_t layer, Vector x);
  Vector ttt_layer(std::size_t layer, const Vector& h);
  Vector feed_forward(std::size_t layer, const Vector& x) const;
  Vector inner_step(std::size_t layer, std::size_t head, View q, View k, View v, double alpha, OpenRow& row);
  double token_eta(std::size_t layer, std::size_t slot) const;
  void commit(std::size_t layer);

  ModelConfig config_;
  Tensors tensors_;
  double base_lr_;
  double rms_norm_eps_;
  std::vector<LayerState> layers_;
  Vector inner_losses_;
  std::size_t position_ = 0;
};

}  // namespace ttt::naive
