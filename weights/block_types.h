// SPDX-License-Identifier: Apache-2.0
// ggml's block types Q8_0 and Q4_0: 32 consecutive weights of a row share one scale. Values and bytes are bit
// by bit those of the Python package gguf. The other block types of tensor.h are recognised, not read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "weights/tensor.h"

namespace ttt::weights {

inline constexpr std::size_t kBlockWeights = 32;

// Blocks as they lie in a file, there at any alignment. A weight is quant * scale, in fp32.
struct BlockQ8_0 {
  std::uint16_t scale;  // F16
  std::int8_t quants[kBlockWeights];
};
struct BlockQ4_0 {
  std::uint16_t scale;                      // F16
  std::uint8_t nibbles[kBlockWeights / 2];  // quant + 8: weights 0 to 15 in the lower halves, 16 to 31 above
};
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4_0) == 18);

inline int quant(const BlockQ8_0& block, std::size_t i) { return block.quants[i]; }
inline int quant(const BlockQ4_0& block, std::size_t i) {
  return (block.nibbles[i % (kBlockWeights / 2)] >> (i < kBlockWeights / 2 ? 0 : 4) & 0xF) - 8;
}

bool is_block_type(DType dtype);  // one of the two

// REQUIRES: is_block_type(dtype); whole blocks; `bytes` holds exactly those of out.size() weights.
void dequantise(DType dtype, std::span<const std::byte> bytes, std::span<float> out);

// The largest magnitude of a block fills the range of its type. Where the scale is too small for F16 the
// block becomes zeros; where it is too large, its weights become infinite. REQUIRES: as above; finite values.
void quantise(DType dtype, std::span<const float> values, std::span<std::byte> out);

}  // namespace ttt::weights
