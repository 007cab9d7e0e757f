// SPDX-License-Identifier: Apache-2.0
// Weights of block types as they lie in device memory: in planes (cuda/block_planes.h), so that what threads
// read is contiguous and aligned. A value is bit by bit what weights/block_types.h makes of the block.
#pragma once

#include "cuda/kernels/device.cuh"
#include "cuda/kernels/matrix.h"

namespace ttt::cuda {

constexpr std::size_t kLine = 128;  // bytes of the L2 cache that come together

// byte - offset, for an integer byte from 0 to 255: exact, and quicker than a conversion.
TTT_DEVICE float byte_to_float(std::uint32_t byte, float offset) {
  constexpr float kOneIsLastBit = 0x1p23F;
  return bits_float(float_bits(kOneIsLastBit) | byte) - (kOneIsLastBit + offset);
}

// Eight bytes that lie at a multiple of eight.
TTT_DEVICE uint2 eight_bytes(const std::uint8_t* at) { return *reinterpret_cast<const uint2*>(at); }
TTT_DEVICE std::uint32_t byte_of(const uint2& bytes, int i) {
  return (i < 4 ? bytes.x : bytes.y) >> (i % 4 * 8) & 0xFFU;
}

// Sixteen bytes that lie at a multiple of sixteen.
TTT_DEVICE uint4 sixteen_bytes(const std::uint8_t* at) { return *reinterpret_cast<const uint4*>(at); }
TTT_DEVICE std::uint32_t word_of(const uint4& bytes, int i) {
  return i < 2 ? (i == 0 ? bytes.x : bytes.y) : (i == 2 ? bytes.z : bytes.w);
}

// Bytes i and i + 1 of four, i even, as fp16: byte - offset, exact.
TTT_DEVICE std::uint32_t bytes_to_halves(std::uint32_t bytes, int i, float offset) {
  constexpr std::uint32_t kOneIsLastBit = 0x64006400U;  // 1024 in both halves
  return subtract_halves(kOneIsLastBit | spread_bytes(bytes, i),
                         pack_half(1024.0F + offset, 1024.0F + offset));
}
TTT_DEVICE std::uint32_t same_halves(std::uint16_t half) {
  return half | static_cast<std::uint32_t>(half) << 16;
}

// Each type has
//
// eight(i): the blocks' bytes of weights i to i + 7 as they are read, i a multiple of 8; value(j) is one of
// them.
//
// sixteen(i, c): those of two of the four eights from weight i on, i a multiple of 32, c 0 or 1. Which two is
// what one long read brings: eight_of(c, 0) and eight_of(c, 1). halves(j) are two neighbours rounded to fp16,
// of the first eight for j from 0 to 3.
//
// prefetch(i, first): brings what belongs to the 32 weights from i on into the cache, each line once where
// one 32 is asked for after the other; `first` of them.
//
// A number of 8 bits times a scale in fp16 has at most 19 bits: rounded from fp32, which holds it, or at once
// is the same.

struct Q8_0Weights {
  const std::uint8_t* quants;   // [N]
  const std::uint16_t* scales;  // [N / 32]

  TTT_DEVICE Q8_0Weights(const void* planes, std::size_t count)
      : quants(static_cast<const std::uint8_t*>(planes)),
        scales(reinterpret_cast<const std::uint16_t*>(quants + count)) {}

  struct Eight {
    uint2 quants;
    std::uint16_t scale;

    TTT_DEVICE float value(int i) const {
      return load_half(scale) * byte_to_float(byte_of(quants, i) ^ 0x80U, 128.0F);
    }
  };
  TTT_DEVICE Eight eight(std::size_t i) const { return {eight_bytes(quants + i), scales[i / 32]}; }

  struct Sixteen {
    uint4 quants;
    std::uint16_t scale;

    TTT_DEVICE std::uint32_t halves(int j) const {
      const std::uint32_t from_zero = word_of(quants, j / 2) ^ 0x80808080U;
      return multiply_halves(bytes_to_halves(from_zero, j % 2 * 2, 128.0F), same_halves(scale));
    }
  };
  TTT_DEVICE Sixteen sixteen(std::size_t i, int c) const {
    return {sixteen_bytes(quants + i + 16 * c), scales[i / 32]};
  }
  static TTT_DEVICE int eight_of(int c, int second) { return 2 * c + second; }

  TTT_DEVICE void prefetch(std::size_t i, bool first) const {
    if (first || i % kLine == 0) cuda::prefetch(quants + i);
    if (first || i / 16 % kLine == 0) cuda::prefetch(scales + i / 32);
  }
};

struct Q4_0Weights {
  const std::uint8_t* nibbles;  // [N / 2]
  const std::uint16_t* scales;  // [N / 32]

  TTT_DEVICE Q4_0Weights(const void* planes, std::size_t count)
      : nibbles(static_cast<const std::uint8_t*>(planes)),
        scales(reinterpret_cast<const std::uint16_t*>(nibbles + count / 2)) {}

  struct Eight {
    uint2 bytes;
    unsigned shift;
    std::uint16_t scale;

    TTT_DEVICE float value(int i) const {
      return load_half(scale) * byte_to_float(byte_of(bytes, i) >> shift & 0xFU, 8.0F);
    }
  };
  TTT_DEVICE Eight eight(std::size_t i) const {
    return {eight_bytes(nibbles + i / 32 * 16 + i % 16), i % 32 < 16 ? 0U : 4U, scales[i / 32]};
  }

  struct Sixteen {
    uint2 bytes;
    std::uint16_t scale;

    TTT_DEVICE std::uint32_t halves(int j) const {
      const std::uint32_t word = (j % 4 < 2 ? bytes.x : bytes.y) >> (j < 4 ? 0 : 4);
      return multiply_halves(bytes_to_halves(word & 0x0F0F0F0FU, j % 2 * 2, 8.0F), same_halves(scale));
    }
  };
  TTT_DEVICE Sixteen sixteen(std::size_t i, int c) const {
    return {eight_bytes(nibbles + i / 2 + 8 * c), scales[i / 32]};
  }
  static TTT_DEVICE int eight_of(int c, int second) { return c + 2 * second; }

  TTT_DEVICE void prefetch(std::size_t i, bool first) const {
    if (first || i / 2 % kLine == 0) cuda::prefetch(nibbles + i / 2);
    if (first || i / 16 % kLine == 0) cuda::prefetch(scales + i / 32);
  }
};

struct Q4_KWeights {
  const std::uint8_t* nibbles;  // [N / 2]
  const std::uint8_t* headers;  // [N / 256][16]: F16 scale and minimum, then 12 bytes of parts

  TTT_DEVICE Q4_KWeights(const void* planes, std::size_t count)
      : nibbles(static_cast<const std::uint8_t*>(planes)), headers(nibbles + count / 2) {}

  // Of 32 weights: scale * number - minimum.
  struct Part {
    float scale, minimum;

    TTT_DEVICE float value(std::uint32_t number) const {
      return scale * byte_to_float(number, 0.0F) - minimum;
    }
  };
  TTT_DEVICE Part part_of(std::size_t i) const {
    const uint4 header = sixteen_bytes(headers + i / 256 * 16);
    const auto byte = [&](unsigned at) { return word_of(header, 1 + at / 4) >> (at % 4 * 8) & 0xFFU; };
    const unsigned part = i % 256 / 32;
    // The first four parts have their 6 bits in a byte, whose upper two belong to the part four further on.
    const bool whole = part < 4;
    const unsigned scale = whole ? byte(part) & 0x3FU : (byte(part + 4) & 0xFU) | byte(part - 4) >> 6 << 4;
    const unsigned minimum = whole ? byte(part + 4) & 0x3FU : byte(part + 4) >> 4 | byte(part) >> 6 << 4;
    return {load_half(static_cast<std::uint16_t>(header.x)) * byte_to_float(scale, 0.0F),
            load_half(static_cast<std::uint16_t>(header.x >> 16)) * byte_to_float(minimum, 0.0F)};
  }

  struct Eight {
    uint2 bytes;
    unsigned shift;
    Part part;

    TTT_DEVICE float value(int i) const { return part.value(byte_of(bytes, i) >> shift & 0xFU); }
  };
  TTT_DEVICE Eight eight(std::size_t i) const {
    return {eight_bytes(nibbles + i / 64 * 32 + i % 32), i % 64 < 32 ? 0U : 4U, part_of(i)};
  }

  struct Sixteen {
    uint4 bytes;
    unsigned shift;
    Part part;

    TTT_DEVICE std::uint32_t halves(int j) const {
      const std::uint32_t two = word_of(bytes, j / 2) >> (j % 2 * 16 + shift);
      return pack_half(part.value(two & 0xFU), part.value(two >> 8 & 0xFU));
    }
  };
  TTT_DEVICE Sixteen sixteen(std::size_t i, int c) const {
    return {sixteen_bytes(nibbles + i / 64 * 32 + 16 * c), i % 64 < 32 ? 0U : 4U, part_of(i)};
  }
  static TTT_DEVICE int eight_of(int c, int second) { return 2 * c + second; }

  TTT_DEVICE void prefetch(std::size_t i, bool first) const {
    if (first || i / 2 % kLine == 0) cuda::prefetch(nibbles + i / 64 * 32);
    if (first || i / 16 % kLine == 0) cuda::prefetch(headers + i / 256 * 16);
  }
};

struct Q6_KWeights {
  const std::uint8_t* nibbles;      // [N / 2]
  const std::uint8_t* crumbs;       // [N / 4]
  const std::uint8_t* part_scales;  // [N / 16], signed
  const std::uint16_t* scales;      // [N / 256]

  TTT_DEVICE Q6_KWeights(const void* planes, std::size_t count)
      : nibbles(static_cast<const std::uint8_t*>(planes)),
        crumbs(nibbles + count / 2),
        part_scales(crumbs + count / 4),
        scales(reinterpret_cast<const std::uint16_t*>(part_scales + count / 16)) {}

  static TTT_DEVICE float value_of(std::uint32_t lower, std::uint32_t upper, float scale) {
    return scale * byte_to_float((lower & 0xFU) | (upper & 3U) << 4, 32.0F);
  }
  // Of 16 weights.
  TTT_DEVICE float scale_of(std::size_t i) const {
    return load_half(scales[i / 256]) * byte_to_float(part_scales[i / 16] ^ 0x80U, 128.0F);
  }
  static TTT_DEVICE unsigned nibble_shift_of(std::size_t i) { return i % 128 < 64 ? 0U : 4U; }
  static TTT_DEVICE unsigned crumb_shift_of(std::size_t i) { return static_cast<unsigned>(i % 128 / 32 * 2); }

  struct Eight {
    uint2 nibbles, crumbs;
    unsigned nibble_shift, crumb_shift;
    float scale;

    TTT_DEVICE float value(int i) const {
      return value_of(byte_of(nibbles, i) >> nibble_shift, byte_of(crumbs, i) >> crumb_shift, scale);
    }
  };
  TTT_DEVICE Eight eight(std::size_t i) const {
    return {eight_bytes(nibbles + i / 128 * 64 + i % 64), eight_bytes(crumbs + i / 128 * 32 + i % 32),
            nibble_shift_of(i), crumb_shift_of(i), scale_of(i)};
  }

  struct Sixteen {
    uint4 nibbles, crumbs;
    unsigned nibble_shift, crumb_shift;
    float scale;

    TTT_DEVICE std::uint32_t halves(int j) const {
      const std::uint32_t lower = word_of(nibbles, j / 2) >> (j % 2 * 16 + nibble_shift);
      const std::uint32_t upper = word_of(crumbs, j / 2) >> (j % 2 * 16 + crumb_shift);
      return pack_half(value_of(lower, upper, scale), value_of(lower >> 8, upper >> 8, scale));
    }
  };
  TTT_DEVICE Sixteen sixteen(std::size_t i, int c) const {
    return {sixteen_bytes(nibbles + i / 128 * 64 + i % 64 + 16 * c),
            sixteen_bytes(crumbs + i / 128 * 32 + 16 * c), nibble_shift_of(i), crumb_shift_of(i),
            scale_of(i + 16 * c)};
  }
  static TTT_DEVICE int eight_of(int c, int second) { return 2 * c + second; }

  TTT_DEVICE void prefetch(std::size_t i, bool first) const {
    if (first || i / 2 % kLine == 0) cuda::prefetch(nibbles + i / 128 * 64);
    if (first || i / 4 % kLine == 0) cuda::prefetch(crumbs + i / 128 * 32);
    if (first || i / 16 % kLine == 0) cuda::prefetch(part_scales + i / 16);
    if (first || i / 128 % kLine == 0) cuda::prefetch(scales + i / 256);
  }
};

}  // namespace ttt::cuda
