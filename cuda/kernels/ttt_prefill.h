// SPDX-License-Identifier: Apache-2.0
// What a prefill kernel of the inner loop reads and writes besides the state.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ttt::cuda {

// Consecutive rows of one sequence.
struct PrefillSegment {
  std::int32_t slot = 0;
  std::int32_t first_row = 0;
  std::int32_t num_rows = 0;  // at least 1
  std::int32_t phase = 0;     // tokens already in the open mini-batch, 0 to 15
};

// Rows of all segments: of q, k, target and out `row_stride` elements apart, head h from column h f on.
// Addresses are multiples of 16 bytes, so is row_stride in bytes.
struct TttPrefillRows {
  const std::uint16_t* q = nullptr;       // bf16, after RoPE
  const std::uint16_t* k = nullptr;       // bf16, after RoPE
  const std::uint16_t* target = nullptr;  // bf16: v - k, rounded once
  std::uint16_t* out = nullptr;           // bf16: q + N(z)
  std::size_t row_stride = 0;
  const float* alpha = nullptr;              // [rows, H] inner learning rate
  float* losses = nullptr;                   // loss of each row and head; null: not wanted
  std::size_t losses_row_stride = 0;         // floats; head h at h
  const PrefillSegment* segments = nullptr;  // in device memory; no two of the same slot
  std::int32_t num_segments = 0;
  std::int32_t num_heads = 0;          // H
  const float* token_eta = nullptr;    // [16], tau
  const float* norm_weight = nullptr;  // [H, f]
  const float* norm_bias = nullptr;    // [H, f]
};

}  // namespace ttt::cuda
