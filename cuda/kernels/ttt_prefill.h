// SPDX-License-Identifier: Apache-2.0
// What a prefill kernel of the inner loop reads and writes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/kernels/step_tables.h"

namespace ttt::cuda {

// Where every segment is one token: what its operands are made of, which the kernel then does itself, with
// the bits of conv.h, launch_rope_operands and launch_rates.
struct TokenOperands {
  const float* xq = nullptr;   // [rows, H f] shared projection of q and k
  const float* v = nullptr;    // [rows, H f]
  std::uint16_t* q = nullptr;  // [rows, H f] params.q, where the made row is put too: kernels read it again
  std::size_t history = 0;     // offset in a state, of the inputs of the convolutions
  const float *weight_q = nullptr, *bias_q = nullptr, *weight_k = nullptr,
              *bias_k = nullptr;      // [taps, H f], [H f]
  std::uint32_t taps = 0;             // 0: the operands are there
  const float* rope_table = nullptr;  // [16, f]: pairs (cos, sin)
  const float* rate_bias = nullptr;   // [H]; params.alpha is before bias, sigmoid and scale
  float rate_scale = 0.0F;
};

// Rows of q, k, target and out lie `row_stride` elements apart, head h from column h f on. Addresses, those
// of states and what lies at the offsets in them too, are multiples of 16 bytes, and so is row_stride in
// bytes.
struct TttPrefillParams {
  const SegmentEntry* segments = nullptr;  // no two of the same slot
  const std::uint16_t* q = nullptr;        // bf16, after RoPE
  const std::uint16_t* k = nullptr;        // bf16, after RoPE
  const std::uint16_t* target = nullptr;   // bf16: v - k, rounded once
  std::uint16_t* out = nullptr;            // bf16: q + N(z)
  std::size_t row_stride = 0;
  const float* alpha = nullptr;        // [rows, H] inner learning rate
  float* losses = nullptr;             // loss of each row and head, of segments that want them
  std::size_t losses_row_stride = 0;   // floats; head h at h
  const float* token_eta = nullptr;    // [16], tau
  const float* norm_weight = nullptr;  // [H, f]
  const float* norm_bias = nullptr;    // [H, f]
  // Offsets in a slot's state, in floats: the layer's committed fast weights, W1 [H, f, m'] as [in, out], b1
  // [H, m'], (MLP) W2 [H, m', f], b2 [H, f]; and its 16 open rows of key [H, f], (MLP) hidden [H, m'],
  // gradient_1 [H, m'] times alpha, (MLP) gradient_2 [H, f]. Keys and hidden rows are numbers of bf16.
  std::size_t fast_weights = 0, open_rows = 0;
  std::int32_t num_segments = 0;
  std::int32_t num_heads = 0;  // H
  TokenOperands token = {};
};

}  // namespace ttt::cuda
