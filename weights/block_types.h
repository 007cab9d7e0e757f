// SPDX-License-Identifier: Apache-2.0
// ggml's block types Q8_0, Q4_0, Q4_K and Q6_K: consecutive weights of a row share scales. What a block
// stands for is bit by bit what the Python package gguf reads; the bytes of Q8_0 and Q4_0 are also those that
// it writes. The other block types of tensor.h are recognised, not read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "weights/tensor.h"

namespace ttt::weights {

inline constexpr std::size_t kBlockWeights = 32;    // of Q8_0 and Q4_0
inline constexpr std::size_t kKBlockWeights = 256;  // of Q4_K and Q6_K, whose parts have scales of their own

// Blocks as they lie in a file, there at any alignment. A weight is quant * scale, in fp32.
struct BlockQ8_0 {
  std::uint16_t scale;  // F16
  std::int8_t quants[kBlockWeights];
};
struct BlockQ4_0 {
  std::uint16_t scale;                      // F16
  std::uint8_t nibbles[kBlockWeights / 2];  // quant + 8: weights 0 to 15 in the lower halves, 16 to 31 above
};

// Eight parts of 32 weights: a weight is (scale * part_scale) * quant - minimum * part_minimum, in fp32.
struct BlockQ4_K {
  static constexpr std::size_t kPart = 32;
  std::uint16_t scale, minimum;              // F16
  std::uint8_t parts[12];                    // scales and minimums of 6 bits: see part_scale(), set_part()
  std::uint8_t nibbles[kKBlockWeights / 2];  // of each 64 weights: 32 in the lower halves, 32 above
};

// Sixteen parts of 16 weights: a weight is (scale * part_scale) * quant, in fp32.
struct BlockQ6_K {
  static constexpr std::size_t kPart = 16;
  // quant + 32. Of each 128 weights: the four lower bits as in two 64s of Q4_K side by side (weights 0 to 63
  // in the lower halves, 64 to 127 above), the two upper ones of weights i, i + 32, i + 64, i + 96 in byte i.
  std::uint8_t nibbles[kKBlockWeights / 2];
  std::uint8_t crumbs[kKBlockWeights / 4];
  std::int8_t part_scales[kKBlockWeights / kPart];
  std::uint16_t scale;  // F16
};
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4_0) == 18);
static_assert(sizeof(BlockQ4_K) == 144 && sizeof(BlockQ6_K) == 210);

inline int quant(const BlockQ8_0& block, std::size_t i) { return block.quants[i]; }
inline int quant(const BlockQ4_0& block, std::size_t i) {
  return (block.nibbles[i % (kBlockWeights / 2)] >> (i < kBlockWeights / 2 ? 0 : 4) & 0xF) - 8;
}
inline int quant(const BlockQ4_K& block, std::size_t i) {
  return block.nibbles[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 0xF;
}
inline int quant(const BlockQ6_K& block, std::size_t i) {
  const int lower = block.nibbles[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 0xF;
  const int upper = block.crumbs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
  return (lower | upper << 4) - 32;
}

// The first four parts have their 6 bits in a byte, whose upper two bits belong to the part four further on.
inline int part_scale(const BlockQ4_K& block, std::size_t part) {
  if (part < 4) return block.parts[part] & 0x3F;
  return (block.parts[part + 4] & 0xF) | block.parts[part - 4] >> 6 << 4;
}
inline int part_minimum(const BlockQ4_K& block, std::size_t part) {
  if (part < 4) return block.parts[part + 4] & 0x3F;
  return block.parts[part + 4] >> 4 | block.parts[part] >> 6 << 4;
}
inline int part_scale(const BlockQ6_K& block, std::size_t part) { return block.part_scales[part]; }

// REQUIRES: the part's bits are zeros; scale and minimum from 0 to 63; lower parts are set first.
void set_part(BlockQ4_K& block, std::size_t part, unsigned scale, unsigned minimum);
// REQUIRES: the weight's bits are zeros; quants from 0 to 15, and from -32 to 31.
void set_quant(BlockQ4_K& block, std::size_t i, int quant);
void set_quant(BlockQ6_K& block, std::size_t i, int quant);

bool is_block_type(DType dtype);  // one of the four

// REQUIRES: is_block_type(dtype); whole blocks; `bytes` holds exactly those of out.size() weights.
void dequantise(DType dtype, std::span<const std::byte> bytes, std::span<float> out);

// Q8_0, Q4_0: the largest magnitude of a block fills the range of its type. Q4_K, Q6_K: k_quantise.h. Where a
// scale is too small for F16 the weights become zeros; where it is too large, some become infinite or NaN.
// REQUIRES: as above. Values that are not finite give some block.
void quantise(DType dtype, std::span<const float> values, std::span<std::byte> out);

}  // namespace ttt::weights
