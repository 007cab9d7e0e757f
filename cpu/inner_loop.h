// SPDX-License-Identifier: Apache-2.0
// The inner loop of one head over consecutive tokens of one sequence: each layer's hidden state is a small
// model that takes one gradient step per mini-batch. One file per kind of inner model: ttt_linear.cpp,
// ttt_mlp.cpp.
//
// Within a mini-batch all gradients are taken at the committed fast weights W. A token in slot i reads
//   z_i = q_i W + b - token_eta_i * sum_{j <= i} (q_i . k_j + 1) g_j                   (dual form)
// where g_j = alpha_j * dLoss_j/dz_j is kept as a row of the open mini-batch, next to its key k_j. The rows
// are folded into W when the mini-batch is full. Every row is computed alike whether it comes alone or
// with others, so any cutting of the sequence gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/mini_batch.h"

namespace ttt::cpu {

// One head's part of the layer. f head size, m' inner width, K mini-batch size.
struct InnerLoopHead {
  std::size_t head_size = 0;   // f
  std::size_t inner_size = 0;  // m'
  std::size_t mini_batch_size = 0;
  std::span<const float> token_eta;    // [K], tau
  std::span<const float> norm_weight;  // [f]
  std::span<const float> norm_bias;    // [f]

  // Committed fast weights, changed by a commit.
  float* W1 = nullptr;  // [f, m']
  float* b1 = nullptr;  // [m']
  float* W2 = nullptr;  // [m', f] (MLP)
  float* b2 = nullptr;  // [f] (MLP)

  // Open rows: row j's parts for this head; consecutive rows are open_row_stride floats apart.
  float* key = nullptr;         // [K][f]
  float* hidden = nullptr;      // [K][m'] (MLP): GELU(k W1 + b1)
  float* gradient_1 = nullptr;  // [K][m'], times alpha
  float* gradient_2 = nullptr;  // [K][f] (MLP), times alpha
  std::size_t open_row_stride = 0;
};

// This head's columns of the segment's rows; consecutive rows are row_stride floats apart.
struct InnerLoopRows {
  std::int64_t position = 0;  // of the first row
  std::size_t num_rows = 0;
  const float* q = nullptr;  // [rows][f], after RoPE
  const float* k = nullptr;
  const float* v = nullptr;
  float* out = nullptr;  // [rows][f]: q + N(z)
  std::size_t row_stride = 0;
  const float* alpha = nullptr;  // inner learning rate of each token
  std::size_t alpha_stride = 0;
  float* losses = nullptr;  // loss of each token at the committed fast weights; null: not wanted
  std::size_t losses_stride = 0;
};

// Rows of one mini-batch that are read together: W passes once for all of them. More would not fit the
// registers anyway.
inline constexpr std::size_t kInnerLoopRun = 16;

// Both need inner_loop_scratch_floats() floats of scratch.
void ttt_linear(const InnerLoopHead& head, const InnerLoopRows& rows, float* scratch);
void ttt_mlp(const InnerLoopHead& head, const InnerLoopRows& rows, float* scratch);

// Asks for the open rows that a token at `position` will read, while something else is computed. With many
// sequences they come from memory, and no hardware foresees them: a head's part of a row is a few hundred
// bytes, the rows are kilobytes apart.
void fetch_open_rows(const InnerLoopHead& head, std::int64_t position);

std::size_t inner_loop_scratch_floats(std::size_t head_size, std::size_t inner_size,
                                      std::size_t mini_batch_size);

// Shared by both kinds of inner model (inner_loop.cpp). In all of them a row's result depends neither on how
// many rows there are nor on the others.

struct Block {  // rows, `stride` floats apart
  const float* at;
  std::size_t stride;
};
struct MutableBlock {
  float* at;
  std::size_t stride;
};

// out [rows, out_size] = x [rows, in] W [in, out_size] + b [out_size]
void affine(Block x, std::size_t num_rows, std::size_t in, const float* W, const float* b,
            std::size_t out_size, MutableBlock out);

// The read-out's correction for the gradients of the open mini-batch. Row r of the run is in slot phase + r
// and sees the open rows j <= phase + r:
//   scores(r, j) = x(r) . keys(j) + 1; a row of scores has room for phase + num_rows, so have the keys
//   out(r) -= eta[r] * sum_j scores(r, j) gradients(j)
void score_open_rows(Block x, std::size_t num_rows, std::size_t phase, Block keys, std::size_t size,
                     MutableBlock scores);
void subtract_open_rows(Block scores, std::size_t num_rows, std::size_t phase, Block gradients,
                        std::size_t out_size, const float* eta, MutableBlock out);

// W [in, out_size] -= eta * sum_{j < count} keys(j)^T gradients(j),  b -= eta * sum_j gradients(j)
void commit_rows(Block keys, std::size_t in, Block gradients, std::size_t out_size, std::size_t count,
                 float eta, float* W, float* b);

// out [rows, out_size] = (x [rows, in] W^T) * factors [rows, out_size], W [out_size, in]
void product_transposed(Block x, std::size_t num_rows, const float* W, std::size_t in, std::size_t out_size,
                        Block factors, MutableBlock out);

}  // namespace ttt::cpu
