// SPDX-License-Identifier: Apache-2.0
// Weights as the numbers that a forward pass computes with: what every backend derives alike from the small
// tensors of a model.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/model.h"
#include "weights/tensor.h"

namespace ttt {

// All values of a weight of the model, in the order of the tensor; none where it is absent.
std::vector<float> floats_of(const Model& model, const weights::TensorView& tensor);

// The weight of a convolution, [d, c], as [c, d]: a tap's weights for all channels lie together.
std::vector<float> conv_taps(const Model& model, const weights::TensorView& weight);

// tau = max(0, 1/(i+1) + token_idx[i]) of each place i of a mini-batch, [K].
std::vector<float> token_eta(const Model& model, const LayerWeights& layer);

// W1 [H, f, m'], b1 [H, m'], W2, b2: in the order of a state.
std::vector<float> initial_fast_weights(const Model& model, const LayerWeights& layer);

// Rotations by the place in a mini-batch: K rows of f/2 pairs (cos, sin). Computed in double.
std::vector<float> make_rope_table(std::size_t mini_batch_size, std::size_t head_size, double theta);

}  // namespace ttt
