// SPDX-License-Identifier: Apache-2.0
// What one sequence's state holds, in which order: the canonical form that Backend::save writes and
// Backend::load reads, equal on every backend. fp32, little endian, no padding.
//
// Per layer, in this order:
//   pre_conv  [c-1+p, d]   last inputs of the pre-convolution (pre_conv)
//   qk_conv   [c-1+p, d]   last inputs of the shared q/k convolutions (share_qk)
//   W1 [H, f, m'], b1 [H, m']                 committed fast weights
//   W2 [H, m', f], b2 [H, f]                  (MLP)
//   open rows, one group per token of the open mini-batch, p groups:
//     key [H, f], gradient_1 [H, m']                                        (Linear)
//     key [H, f], hidden [H, m'], gradient_1 [H, m'], gradient_2 [H, f]     (MLP)
// p = position mod K. Gradients are already multiplied by their token's inner rate alpha. Convolution
// inputs reach back to before the open mini-batch, so that dropping its rows is an exact undo; rows
// before the beginning of the sequence are zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/config.h"

namespace ttt {

// Floats of one group of open rows: what one token adds to the state inside its mini-batch.
std::size_t open_row_floats(const ModelConfig& config);

// Floats of the committed fast weights of one layer: W1, b1 (W2, b2).
std::size_t fast_weight_floats(const ModelConfig& config);

// Floats of one layer's state after `position` tokens.
std::size_t layer_state_floats(const ModelConfig& config, std::int64_t position);

// Bytes of the whole canonical state after `position` tokens: the only size function.
std::size_t state_bytes(const ModelConfig& config, std::int64_t position);

// The largest state_bytes over all positions: what to reserve for any sequence.
std::size_t max_state_bytes(const ModelConfig& config);

// A tensor inside the canonical state, for inspection: `offset` and the shape count floats.
struct StateTensor {
  std::string name;  // "blk.3.W1", "blk.3.open.gradient_1"
  std::size_t offset = 0;
  std::vector<std::size_t> shape;
  std::size_t row_stride = 0;  // floats between rows of the first extent; the row's size where contiguous
};

// Every tensor of the canonical state after `position` tokens.
std::vector<StateTensor> list_state(const ModelConfig& config, std::int64_t position);

}  // namespace ttt
