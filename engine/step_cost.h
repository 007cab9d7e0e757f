// SPDX-License-Identifier: Apache-2.0
// What a step must at least read and compute: the denominators of every share of a machine's limit. Pure
// arithmetic, the same for every backend.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/config.h"
#include "engine/model.h"

namespace ttt {

// Bytes of the matrices that every step reads whole, the output head included; an embedding of its own is
// not. `fp32_as_half`: those in fp32 are kept in 16 bits.
std::uint64_t matrix_bytes(const Model& model, bool fp32_as_half = false);

// Mean bytes of one sequence's state that a decoded token reads and writes: the fast weights are read by
// every token, and read and written once more when the mini-batch is full (1 + 2/K); of the open rows a token
// reads (K - 1)/2 on average and writes its own; convolution inputs are read and moved on.
double state_traffic_bytes(const ModelConfig& config);

// Floating-point operations (a multiply-add is two) of reading one token of a prompt.
struct TokenFlops {
  double products = 0.0;    // matrices, without the output head
  double inner_loop = 0.0;  // fast weights: z_k, backward, read-out, scores of the mini-batch, commit

  double sum() const { return products + inner_loop; }
};
TokenFlops token_flops(const ModelConfig& config);

}  // namespace ttt
