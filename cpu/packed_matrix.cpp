// SPDX-License-Identifier: Apache-2.0
#include "cpu/packed_matrix.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "weights/element_type.h"
#include "weights/float16.h"

namespace ttt::cpu {
namespace {

constexpr std::size_t kTile = 16;  // inputs that are turned at a time: 16 x 16 weights fit the registers

// Turns rows [outputs][num_inputs], at any alignment, into a panel [num_inputs][16].
template <typename Element>
void pack_panel(const std::byte* rows, std::size_t num_outputs, std::size_t num_inputs, std::byte* panel) {
  auto* to = reinterpret_cast<Element*>(panel);
  for (std::size_t first = 0; first < num_inputs; first += kTile) {
    const std::size_t count = std::min(kTile, num_inputs - first);
    Element tile[kPanelOutputs][kTile] = {};
    for (std::size_t output = 0; output < num_outputs; ++output) {
      std::memcpy(tile[output], rows + (output * num_inputs + first) * sizeof(Element),
                  count * sizeof(Element));
    }
    for (std::size_t input = 0; input < count; ++input) {
#pragma GCC unroll 16
      for (std::size_t output = 0; output < kPanelOutputs; ++output) *to++ = tile[output][input];
    }
  }
}

// The eight bytes of eight inputs, at any alignment: the first in the lowest bits.
std::uint64_t load_inputs(const std::uint8_t* from) {
  std::uint64_t bytes = 0;
  std::memcpy(&bytes, from, sizeof(bytes));
  return bytes;
}

// The lower halves of eight inputs' bytes, as they lie in PanelBlocksQ4_0 and PanelBlocksQ4_K.
void set_nibbles(std::uint8_t (&bytes)[kPanelOutputs][4], std::size_t output, std::uint64_t inputs) {
  const std::uint64_t nibbles = inputs & 0x0F0F0F0F0F0F0F0F;
  const auto packed = static_cast<std::uint32_t>(nibbles | nibbles >> 28);
  std::memcpy(bytes[output], &packed, sizeof(packed));
}

int nibble_of(const std::uint8_t (&bytes)[kPanelOutputs][4], std::size_t output, std::size_t input) {
  return bytes[output][input % 4] >> (input % 8 / 4 * 4) & 0xF;
}

// One output's block, into its place `at` among those of a panel, and back to floats. What is set was zeros.
void pack_block(const weights::BlockQ8_0& from, std::size_t at, std::size_t output, PanelBlocksQ8_0& to) {
  to.scales[at][output] = from.scale;
#pragma GCC unroll 8
  for (std::size_t four = 0; four < weights::kBlockWeights / 4; ++four) {
    std::uint32_t bytes;
    std::memcpy(&bytes, from.quants + 4 * four, 4);
    bytes ^= 0x80808080U;  // kByteOffset more
    std::memcpy(to.quants[at][four][output], &bytes, 4);
  }
}

void read_block(const PanelBlocksQ8_0& from, std::size_t at, std::size_t output, float* to) {
  const float scale = weights::f16_to_float(from.scales[at][output]);
  for (std::size_t i = 0; i < weights::kBlockWeights; ++i) {
    to[i] = scale * static_cast<float>(from.quants[at][i / 4][output][i % 4] - kByteOffset);
  }
}

void pack_block(const weights::BlockQ4_0& from, std::size_t at, std::size_t output, PanelBlocksQ4_0& to) {
  to.scales[at][output] = from.scale;
  for (std::size_t i = 0; i < weights::kBlockWeights; i += 8) {
    set_nibbles(to.quants[at][i / 8], output, load_inputs(from.nibbles + i % 16) >> (i / 16 * 4));
  }
}

void read_block(const PanelBlocksQ4_0& from, std::size_t at, std::size_t output, float* to) {
  const float scale = weights::f16_to_float(from.scales[at][output]);
  for (std::size_t i = 0; i < weights::kBlockWeights; ++i) {
    to[i] = scale * static_cast<float>(nibble_of(from.quants[at][i / 8], output, i) - 8);
  }
}

void pack_block(const weights::BlockQ4_K& from, std::size_t, std::size_t output, PanelBlocksQ4_K& to) {
  to.scales[output] = from.scale;
  to.minimums[output] = from.minimum;
  for (std::size_t part = 0; part < 8; ++part) {
    const int bits = weights::part_scale(from, part) | weights::part_minimum(from, part) << 6;
    auto& words = to.parts[part / 4];
    for (std::size_t k = 0; k < 3; ++k) {
      const int share = part % 4 == 3 ? (bits >> (4 * k) & 0xF) << 12 : part % 4 == k ? bits : 0;
      words[k][output] = static_cast<std::uint16_t>(words[k][output] | share);
    }
  }
  for (std::size_t i = 0; i < weights::kKBlockWeights; i += 8) {
    set_nibbles(to.quants[i / 8], output,
                load_inputs(from.nibbles + i / 64 * 32 + i % 32) >> (i % 64 / 32 * 4));
  }
}

// The scale of a part in bits 0 to 5, its minimum above.
int part_bits(const PanelBlocksQ4_K& from, std::size_t output, std::size_t part) {
  const auto& words = from.parts[part / 4];
  if (part % 4 < 3) return words[part % 4][output] & 0xFFF;
  return words[0][output] >> 12 | words[1][output] >> 12 << 4 | words[2][output] >> 12 << 8;
}

void read_block(const PanelBlocksQ4_K& from, std::size_t, std::size_t output, float* to) {
  for (std::size_t i = 0; i < weights::kKBlockWeights; ++i) {
    const int bits = part_bits(from, output, i / weights::BlockQ4_K::kPart);
    const float scale = weights::f16_to_float(from.scales[output]) * static_cast<float>(bits & 0x3F);
    const float minimum = weights::f16_to_float(from.minimums[output]) * static_cast<float>(bits >> 6);
    to[i] = scale * static_cast<float>(nibble_of(from.quants[i / 8], output, i)) - minimum;
  }
}

// Eight inputs of Q6_K from the i-th on, quant + 32 in a byte each. REQUIRES: i is a multiple of 8.
std::uint64_t load_sixes(const weights::BlockQ6_K& from, std::size_t i) {
  const std::uint64_t lower = load_inputs(from.nibbles + i / 128 * 64 + i % 64) >> (i % 128 / 64 * 4);
  const std::uint64_t upper = load_inputs(from.crumbs + i / 128 * 32 + i % 32) >> (i % 128 / 32 * 2);
  return (lower & 0x0F0F0F0F0F0F0F0F) | (upper & 0x0303030303030303) << 4;
}

// Of four pairs, the inputs 0 and 2, then 1 and 3 of two fours, all that are first (0) or second (1) in
// theirs, 16 bits apart.
std::uint64_t inputs_of_pairs(std::uint64_t bytes, std::size_t place) {
  const std::uint64_t fours = bytes >> (16 * place) & 0x0000FFFF0000FFFF;
  return (fours & 0x000000FF000000FF) | (fours & 0x0000FF000000FF00) << 8;
}

// The sixteen inputs of a part, from `i` on.
void set_sixes(std::uint16_t (&words)[3][kPanelOutputs][2], std::size_t output,
               const weights::BlockQ6_K& from, std::size_t i) {
  const std::uint64_t first = load_sixes(from, i), second = load_sixes(from, i + 8);
  for (std::size_t place = 0; place < 2; ++place) {
    // Neighbouring pairs move together: two at bit 0, two at bit 32.
    const std::uint64_t pairs = inputs_of_pairs(first, place), more = inputs_of_pairs(second, place);
    const std::uint64_t twos = pairs | pairs >> 10, more_twos = more | more >> 10;
    const std::uint64_t last = more_twos >> 32;
    const std::uint64_t word[3] = {(twos & 0xFFF) | (last & 0xF) << 12,
                                   (twos >> 32 & 0xFFF) | (last >> 4 & 0xF) << 12,
                                   (more_twos & 0xFFF) | (last >> 8 & 0xF) << 12};
    for (std::size_t k = 0; k < 3; ++k) words[k][output][place] = static_cast<std::uint16_t>(word[k]);
  }
}

int six_of(const std::uint16_t (&words)[3][kPanelOutputs][2], std::size_t output, std::size_t input) {
  const std::size_t pair = input / 4 * 2 + input % 2, place = input % 4 / 2;
  const auto word = [&](std::size_t k) { return static_cast<int>(words[k][output][place]); };
  if (pair < 6) return word(pair / 2) >> (pair % 2 * 6) & 0x3F;
  return (word(0) >> 12 | word(1) >> 12 << 4 | word(2) >> 12 << 8) >> ((pair - 6) * 6) & 0x3F;
}

void pack_block(const weights::BlockQ6_K& from, std::size_t, std::size_t output, PanelBlocksQ6_K& to) {
  to.scales[output] = from.scale;
  for (std::size_t part = 0; part < 16; ++part) to.part_scales[part][output] = from.part_scales[part];
  for (std::size_t part = 0; part < 16; ++part) set_sixes(to.quants[part], output, from, 16 * part);
}

void read_block(const PanelBlocksQ6_K& from, std::size_t, std::size_t output, float* to) {
  for (std::size_t i = 0; i < weights::kKBlockWeights; ++i) {
    const std::size_t part = i / weights::BlockQ6_K::kPart;
    const float scale =
        weights::f16_to_float(from.scales[output]) * static_cast<float>(from.part_scales[part][output]);
    to[i] = scale * static_cast<float>(six_of(from.quants[part], output, i % 16) - 32);
  }
}

// Turns rows of blocks, at any alignment, into a panel of blocks. An output that does not exist has scales of
// 0.
template <typename Block, typename PanelBlocks>
void pack_blocks(const std::byte* rows, std::size_t num_outputs, std::size_t num_blocks, std::byte* panel) {
  for (std::size_t first = 0; first < num_blocks;
       first += PanelBlocks::kBlocks, panel += sizeof(PanelBlocks)) {
    PanelBlocks packed{};
    for (std::size_t output = 0; output < num_outputs; ++output) {
      const std::byte* from = rows + (output * num_blocks + first) * sizeof(Block);
      for (std::size_t b = 0; b < std::min(PanelBlocks::kBlocks, num_blocks - first); ++b) {
        Block block;
        std::memcpy(&block, from + b * sizeof(Block), sizeof(Block));
        pack_block(block, b, output, packed);
      }
    }
    std::memcpy(panel, &packed, sizeof(packed));
  }
}

template <typename PanelBlocks>
void read_blocks(const std::byte* panel, std::size_t output, std::size_t block_inputs, std::size_t num_blocks,
                 float* to) {
  for (std::size_t b = 0; b < num_blocks; ++b) {
    PanelBlocks blocks;
    std::memcpy(&blocks, panel + b / PanelBlocks::kBlocks * sizeof(PanelBlocks), sizeof(PanelBlocks));
    read_block(blocks, b % PanelBlocks::kBlocks, output, to + b * block_inputs);
  }
}

// fn(Block(), PanelBlocks()) with the types of a block type.
template <typename Fn>
auto with_block_types(weights::DType dtype, Fn&& fn) {
  switch (dtype) {
    case weights::DType::kQ8_0:
      return fn(weights::BlockQ8_0(), PanelBlocksQ8_0());
    case weights::DType::kQ4_0:
      return fn(weights::BlockQ4_0(), PanelBlocksQ4_0());
    case weights::DType::kQ4_K:
      return fn(weights::BlockQ4_K(), PanelBlocksQ4_K());
    default:
      return fn(weights::BlockQ6_K(), PanelBlocksQ6_K());
  }
}

// Of a panel of `num_blocks` blocks, or of as many weights that are no blocks.
std::uint64_t bytes_of_panel(weights::DType dtype, std::uint64_t num_blocks) {
  if (!weights::is_block_type(dtype))
    return num_blocks * kPanelOutputs * weights::dtype_info(dtype).block_bytes;
  return with_block_types(dtype, [&](auto, auto panel_blocks) {
    constexpr std::uint64_t kBlocks = decltype(panel_blocks)::kBlocks;
    return (num_blocks + kBlocks - 1) / kBlocks * sizeof(panel_blocks);
  });
}

}  // namespace

PackedMatrix::PackedMatrix(const weights::TensorView& tensor)
    : dtype_(tensor.dtype),
      block_inputs_(weights::dtype_info(tensor.dtype).block_elements),
      block_bytes_(weights::dtype_info(tensor.dtype).block_bytes),
      num_outputs_(static_cast<std::size_t>(tensor.shape.front())),
      num_inputs_(static_cast<std::size_t>(tensor.shape.back())),
      panel_bytes_(static_cast<std::size_t>(bytes_of_panel(dtype_, num_inputs_ / block_inputs_))) {}

PackedMatrix::PackedMatrix(const weights::TensorView& tensor, ThreadPool& pool, std::byte* to)
    : PackedMatrix(tensor) {
  data_ = to;
  pool.for_ranges(
      num_panels(), kPanelOutputs * num_inputs_,
      [&](std::size_t begin, std::size_t end, std::size_t) { pack_panels(tensor, begin, end, to); });
}

PackedMatrix::PackedMatrix(const weights::TensorView& tensor, ThreadPool& pool)
    : PackedMatrix(tensor, pool, allocate_large(planned_bytes(tensor))) {}

PackedMatrix::PackedMatrix(const weights::TensorView& tensor, ThreadPool& pool, LargeBuffer own)
    : PackedMatrix(tensor, pool, own.get()) {
  own_ = std::move(own);
}

PackedMatrix::PackedMatrix(const weights::TensorView& tensor, std::span<const std::byte> packed)
    : PackedMatrix(tensor) {
  data_ = packed.data();
}

void PackedMatrix::pack_panels(const weights::TensorView& tensor, std::size_t begin, std::size_t end,
                               std::byte* to) const {
  const std::size_t num_blocks = num_inputs_ / block_inputs_;
  to += begin * panel_bytes_;
  for (std::size_t index = begin; index < end; ++index, to += panel_bytes_) {
    const std::size_t first = index * kPanelOutputs;
    const std::size_t count = std::min(kPanelOutputs, num_outputs_ - first);
    const std::byte* rows = tensor.bytes.data() + first * num_blocks * block_bytes_;
    if (weights::is_block_type(dtype_)) {
      with_block_types(dtype_, [&](auto block, auto panel_blocks) {
        pack_blocks<decltype(block), decltype(panel_blocks)>(rows, count, num_blocks, to);
      });
    } else if (dtype_ == weights::DType::kF32) {
      pack_panel<std::uint32_t>(rows, count, num_inputs_, to);
    } else {
      pack_panel<std::uint16_t>(rows, count, num_inputs_, to);
    }
  }
}

std::uint64_t PackedMatrix::planned_bytes(const weights::TensorView& tensor) {
  const std::uint64_t panels = (tensor.shape.front() + kPanelOutputs - 1) / kPanelOutputs;
  const std::uint64_t blocks = tensor.shape.back() / weights::dtype_info(tensor.dtype).block_elements;
  return panels * bytes_of_panel(tensor.dtype, blocks);
}

void PackedMatrix::read_output(std::size_t output, float* to) const {
  const std::byte* at = panel(output / kPanelOutputs);
  const std::size_t column = output % kPanelOutputs;
  if (weights::is_block_type(dtype_)) {
    with_block_types(dtype_, [&](auto, auto panel_blocks) {
      read_blocks<decltype(panel_blocks)>(at, column, block_inputs_, num_inputs_ / block_inputs_, to);
    });
    return;
  }
  at += column * block_bytes_;
  for (std::size_t input = 0; input < num_inputs_; ++input) {
    weights::to_floats(dtype_, {at, block_bytes_}, {to + input, 1});
    at += kPanelOutputs * block_bytes_;
  }
}

}  // namespace ttt::cpu
