// SPDX-License-Identifier: Apache-2.0
// The architecture on one page: every weight of a TTT language model with its shape. Views into an opened
// checkpoint, shapes checked once. A tensor that the configuration does not ask for has no bytes. How each
// weight is called in which format: tensor_table.h.
//
// Symbols: V vocabulary, d width, m SwiGLU width, H heads, f = d/H head size, m' inner width (f for
// TTT-Linear, 4f for TTT-MLP), K mini-batch size, c convolution width. Matrices are [out, in].
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/config.h"
#include "weights/checkpoint.h"
#include "weights/tensor.h"

namespace ttt {

struct LayerWeights {
  using T = weights::TensorView;

  // Pre-convolution (pre_conv): x += Conv(RMS(x))
  T pre_conv_norm;                   // [d]
  T pre_conv_weight, pre_conv_bias;  // [d, c], [d]

  // Projections of h = RMS(x)
  T attn_norm;    // [d]
  T attn_q;       // [d, d]; q and k together where share_qk
  T attn_k;       // [d, d], absent where share_qk
  T attn_v;       // [d, d]
  T gate;         // [d, d] (use_gate)
  T attn_output;  // [d, d]

  // Convolutions of the shared q/k projection (share_qk)
  T conv_q_weight, conv_q_bias;  // [d, c], [d]
  T conv_k_weight, conv_k_bias;  // [d, c], [d]

  // Inner learning rate: alpha = base_lr / f * sigmoid(h . lr_weight + lr_bias), token_eta from token_idx
  T lr_weight, lr_bias;  // [H, d], [H]
  T token_idx;           // [K]

  // Inner model: initial fast weights, and the norm inside its loss and its output
  T inner_1_weight, inner_1_bias;        // [H, f, m'], [H, m']: row vector times matrix, [in, out]
  T inner_2_weight, inner_2_bias;        // [H, m', f], [H, f] (MLP)
  T inner_norm_weight, inner_norm_bias;  // [H, f]

  T post_norm_weight, post_norm_bias;  // [d]

  // Feed-forward: x += (SiLU(u gate^T) * (u up^T)) down^T, u = RMS(x)
  T ffn_norm;          // [d]
  T ffn_gate, ffn_up;  // [m, d]
  T ffn_down;          // [d, m]
};

struct Model {
  ModelConfig config;
  std::string source;       // where the weights came from, for messages
  std::string stated_hash;  // weights_hash() as the file states it, not checked; empty: it states none
  // Says that nobody will read these bytes of a tensor again, so that their memory is free: those of a file
  // come back if they are read all the same, random weights do not. May be empty.
  std::function<void(std::span<const std::byte>)> release;
  // Brings the bytes of a weight, or of some of its rows, into a buffer that grows where it is too small, for
  // a model whose weights are read one at a time: views of an imported model have no bytes (import.h), those
  // of a checkpoint that is read in parts have mapped ones. Empty for every other model, whose weights are
  // read where they lie. Asked by with_bytes() of tensor_pieces.h.
  std::function<std::span<const std::byte>(const weights::TensorView&, std::vector<std::byte>& buffer)> fetch;
  weights::TensorView token_embd;     // [V, d]
  std::vector<LayerWeights> layers;   // [L]
  weights::TensorView output_norm;    // [d]
  weights::TensorView output;         // [V, d]; the embedding itself where tie_word_embeddings
  std::vector<std::string> warnings;  // what a user should know about this checkpoint; one sentence each
};

// Reads the configuration and finds every tensor by the one name table. Throws
// weights::CheckpointError: a tensor missing, of the wrong shape or type, or not asked for by the
// configuration. The views borrow from `checkpoint`, which must outlive the model.
Model load_model(const weights::Checkpoint& checkpoint);

// A model whose weights come from `provide` instead of a checkpoint: it is called once for each weight that
// `config` asks for, with the name that it has in a GGUF file and its shape. What it returns must outlive the
// model.
Model assemble_model(const ModelConfig& config,
                     const std::function<weights::TensorView(std::string name, weights::Shape shape,
                                                             bool is_matrix)>& provide);

// What a user should know about such a configuration, one sentence each.
std::vector<std::string> config_warnings(const ModelConfig& config);

// A weight under the name and shape it has in a GGUF file.
struct NamedTensor {
  weights::TensorView view;  // name and shape as in GGUF; bytes in the checkpoint
  bool is_matrix = false;    // read by a matrix product (or an embedding): may be stored in 16 bits
};

// Every weight of the model once, in name order (a tied output head is not listed).
std::vector<NamedTensor> list_tensors(const Model& model);

}  // namespace ttt
