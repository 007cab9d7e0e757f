// SPDX-License-Identifier: Apache-2.0
#include "cuda/block_planes.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "weights/block_types.h"
#include "weights/float16.h"

namespace ttt::cuda {
namespace {

using weights::BlockQ4_0, weights::BlockQ4_K, weights::BlockQ6_K, weights::BlockQ8_0;

// As kernels/block_weights.cuh reads them.
constexpr BlockShape kShapeQ8_0{.weights = weights::kBlockWeights,
                                .bytes = sizeof(BlockQ8_0),
                                .planes = {{{offsetof(BlockQ8_0, quants), sizeof(BlockQ8_0::quants)},
                                            {offsetof(BlockQ8_0, scale), sizeof(BlockQ8_0::scale)}}},
                                .scale = offsetof(BlockQ8_0, scale),
                                .most_steps = 128.0F};
constexpr BlockShape kShapeQ4_0{.weights = weights::kBlockWeights,
                                .bytes = sizeof(BlockQ4_0),
                                .planes = {{{offsetof(BlockQ4_0, nibbles), sizeof(BlockQ4_0::nibbles)},
                                            {offsetof(BlockQ4_0, scale), sizeof(BlockQ4_0::scale)}}},
                                .scale = offsetof(BlockQ4_0, scale),
                                .most_steps = 8.0F};
constexpr BlockShape kShapeQ4_K{
    .weights = weights::kKBlockWeights,
    .bytes = sizeof(BlockQ4_K),
    .planes = {{{offsetof(BlockQ4_K, nibbles), sizeof(BlockQ4_K::nibbles)},
                {offsetof(BlockQ4_K, scale), offsetof(BlockQ4_K, nibbles)}}},  // scale, minimum, parts
    .scale = offsetof(BlockQ4_K, scale),
    .minimum = offsetof(BlockQ4_K, minimum),
    .most_steps = 63.0F * 15.0F,
    .most_minimums = 63.0F};
constexpr BlockShape kShapeQ6_K{
    .weights = weights::kKBlockWeights,
    .bytes = sizeof(BlockQ6_K),
    .planes = {{{offsetof(BlockQ6_K, nibbles), sizeof(BlockQ6_K::nibbles)},
                {offsetof(BlockQ6_K, crumbs), sizeof(BlockQ6_K::crumbs)},
                {offsetof(BlockQ6_K, part_scales), sizeof(BlockQ6_K::part_scales)},
                {offsetof(BlockQ6_K, scale), sizeof(BlockQ6_K::scale)}}},
    .scale = offsetof(BlockQ6_K, scale),
    .most_steps = 128.0F * 32.0F};

float half_at(const std::byte* at) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return std::abs(weights::f16_to_float(bits));
}

constexpr std::size_t bytes_in_planes(const BlockShape& shape) {
  std::size_t bytes = 0;
  for (const BlockPart& part : shape.planes) bytes += part.bytes;
  return bytes;
}
constexpr bool holds_all(MatrixType type, const BlockShape& shape) {
  return bytes_in_planes(shape) == shape.bytes && matrix_bytes(type, shape.weights) == shape.bytes;
}
static_assert(holds_all(MatrixType::kQ8_0, kShapeQ8_0) && holds_all(MatrixType::kQ4_0, kShapeQ4_0) &&
              holds_all(MatrixType::kQ4_K, kShapeQ4_K) && holds_all(MatrixType::kQ6_K, kShapeQ6_K));

}  // namespace

const BlockShape& block_shape(MatrixType type) {
  switch (type) {
    case MatrixType::kQ8_0:
      return kShapeQ8_0;
    case MatrixType::kQ4_0:
      return kShapeQ4_0;
    case MatrixType::kQ4_K:
      return kShapeQ4_K;
    case MatrixType::kQ6_K:
      return kShapeQ6_K;
    case MatrixType::kF32:
    case MatrixType::kF16:
    case MatrixType::kBF16:
      break;
  }
  throw std::logic_error("block_shape: not a block type");
}

float largest_magnitude(const BlockShape& shape, std::span<const std::byte> blocks) {
  float largest = 0.0F;
  for (std::size_t at = 0; at < blocks.size(); at += shape.bytes) {
    float bound = half_at(blocks.data() + at + shape.scale) * shape.most_steps;
    if (shape.most_minimums > 0.0F)
      bound += half_at(blocks.data() + at + shape.minimum) * shape.most_minimums;
    if (!(bound <= largest)) largest = bound;
    if (largest != largest) break;
  }
  return largest;
}

void gather_plane(const BlockShape& shape, const BlockPart& part, std::span<const std::byte> blocks,
                  std::span<std::byte> out) {
  std::byte* to = out.data();
  for (std::size_t at = 0; at < blocks.size(); at += shape.bytes) {
    to = std::copy_n(blocks.data() + at + part.offset, part.bytes, to);
  }
}

}  // namespace ttt::cuda
