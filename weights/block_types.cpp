// SPDX-License-Identifier: Apache-2.0
#include "weights/block_types.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "weights/float16.h"
#include "weights/k_quantise.h"

namespace ttt::weights {
namespace {

// 1 / scale, or 0 where there is none: such a block is all zeros, in F16 at the latest.
float inverse(float scale) {
  const float value = scale == 0.0F ? 0.0F : 1.0F / scale;
  return std::isfinite(value) ? value : 0.0F;
}

// To the nearest, halves away from zero; a magnitude above 127 by rounding stays 127.
std::int8_t rounded(float value) {
  const float magnitude = std::abs(value);
  const float whole = std::floor(magnitude);
  const float nearest = whole + std::floor(2.0F * (magnitude - whole));
  return static_cast<std::int8_t>(std::copysign(std::min(nearest, 127.0F), value));
}

BlockQ8_0 quantise_q8_0(const float* values) {
  float largest = 0.0F;
  for (std::size_t i = 0; i < kBlockWeights; ++i) largest = std::max(largest, std::abs(values[i]));
  const float scale = largest / 127.0F;
  const float factor = inverse(scale);
  BlockQ8_0 block{.scale = float_to_f16(scale), .quants = {}};
  for (std::size_t i = 0; i < kBlockWeights; ++i) block.quants[i] = rounded(values[i] * factor);
  return block;
}

// The value of the largest magnitude, the first of several, becomes -8: the range is -8 to 7.
BlockQ4_0 quantise_q4_0(const float* values) {
  float largest = values[0];
  for (std::size_t i = 1; i < kBlockWeights; ++i) {
    if (std::abs(values[i]) > std::abs(largest)) largest = values[i];
  }
  const float scale = largest / -8.0F;
  const float factor = inverse(scale);
  const auto nibble = [&](std::size_t i) {
    return static_cast<unsigned>(std::clamp(values[i] * factor + 8.5F, 0.0F, 15.0F));
  };
  BlockQ4_0 block{.scale = float_to_f16(scale), .nibbles = {}};
  constexpr std::size_t kHalf = kBlockWeights / 2;
  for (std::size_t i = 0; i < kHalf; ++i) {
    block.nibbles[i] = static_cast<std::uint8_t>(nibble(i) | nibble(i + kHalf) << 4U);
  }
  return block;
}

template <typename Block>
void dequantise_block(const Block& block, float* out) {
  const float scale = f16_to_float(block.scale);
  for (std::size_t i = 0; i < kBlockWeights; ++i) out[i] = scale * static_cast<float>(quant(block, i));
}

void dequantise_block(const BlockQ4_K& block, float* out) {
  for (std::size_t i = 0; i < kKBlockWeights; ++i) {
    const std::size_t part = i / BlockQ4_K::kPart;
    const float scale = f16_to_float(block.scale) * static_cast<float>(part_scale(block, part));
    const float minimum = f16_to_float(block.minimum) * static_cast<float>(part_minimum(block, part));
    out[i] = scale * static_cast<float>(quant(block, i)) - minimum;
  }
}

void dequantise_block(const BlockQ6_K& block, float* out) {
  for (std::size_t i = 0; i < kKBlockWeights; ++i) {
    const float scale =
        f16_to_float(block.scale) * static_cast<float>(part_scale(block, i / BlockQ6_K::kPart));
    out[i] = scale * static_cast<float>(quant(block, i));
  }
}

template <typename Block, std::size_t kWeights>
void dequantise_blocks(const std::byte* from, std::span<float> out) {
  for (std::size_t first = 0; first < out.size(); first += kWeights, from += sizeof(Block)) {
    Block block;
    std::memcpy(&block, from, sizeof(Block));
    dequantise_block(block, out.data() + first);
  }
}

template <std::size_t kWeights, typename Block>
void quantise_blocks(std::span<const float> values, std::byte* to, Block (*quantise_one)(const float*)) {
  for (std::size_t first = 0; first < values.size(); first += kWeights, to += sizeof(Block)) {
    const Block block = quantise_one(values.data() + first);
    std::memcpy(to, &block, sizeof(Block));
  }
}

}  // namespace

void set_part(BlockQ4_K& block, std::size_t part, unsigned scale, unsigned minimum) {
  const auto add = [&](std::size_t i, unsigned bits) {
    block.parts[i] = static_cast<std::uint8_t>(block.parts[i] | bits);
  };
  if (part < 4) {
    add(part, scale);
    add(part + 4, minimum);
  } else {
    add(part + 4, (scale & 0xF) | (minimum & 0xF) << 4);
    add(part - 4, scale >> 4 << 6);
    add(part, minimum >> 4 << 6);
  }
}

void set_quant(BlockQ4_K& block, std::size_t i, int quant) {
  std::uint8_t& byte = block.nibbles[i / 64 * 32 + i % 32];
  byte = static_cast<std::uint8_t>(byte | quant << (i % 64 / 32 * 4));
}

void set_quant(BlockQ6_K& block, std::size_t i, int quant) {
  std::uint8_t& lower = block.nibbles[i / 128 * 64 + i % 64];
  std::uint8_t& upper = block.crumbs[i / 128 * 32 + i % 32];
  lower = static_cast<std::uint8_t>(lower | ((quant + 32) & 0xF) << (i % 128 / 64 * 4));
  upper = static_cast<std::uint8_t>(upper | (quant + 32) >> 4 << (i % 128 / 32 * 2));
}

bool is_block_type(DType dtype) {
  return dtype == DType::kQ8_0 || dtype == DType::kQ4_0 || dtype == DType::kQ4_K || dtype == DType::kQ6_K;
}

void dequantise(DType dtype, std::span<const std::byte> bytes, std::span<float> out) {
  if (dtype == DType::kQ8_0) {
    dequantise_blocks<BlockQ8_0, kBlockWeights>(bytes.data(), out);
  } else if (dtype == DType::kQ4_0) {
    dequantise_blocks<BlockQ4_0, kBlockWeights>(bytes.data(), out);
  } else if (dtype == DType::kQ4_K) {
    dequantise_blocks<BlockQ4_K, kKBlockWeights>(bytes.data(), out);
  } else {
    dequantise_blocks<BlockQ6_K, kKBlockWeights>(bytes.data(), out);
  }
}

void quantise(DType dtype, std::span<const float> values, std::span<std::byte> out) {
  if (dtype == DType::kQ8_0) {
    quantise_blocks<kBlockWeights>(values, out.data(), quantise_q8_0);
  } else if (dtype == DType::kQ4_0) {
    quantise_blocks<kBlockWeights>(values, out.data(), quantise_q4_0);
  } else if (dtype == DType::kQ4_K) {
    quantise_blocks<kKBlockWeights>(values, out.data(), quantise_q4_k);
  } else {
    quantise_blocks<kKBlockWeights>(values, out.data(), quantise_q6_k);
  }
}

}  // namespace ttt::weights
