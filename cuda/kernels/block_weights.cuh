// SPDX-License-Identifier: Apache-2.0
// Weights of block types as they lie in device memory: in planes (cuda/block_planes.h), so that what threads
// read is contiguous and aligned. A value is bit by bit what weights/block_types.h makes of the block.
#pragma once

#include "cuda/kernels/device.cuh"
#include "cuda/kernels/matrix.h"

namespace ttt::cuda {

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

// Two neighbouring bytes, those of an even place and the next, as fp16: byte - offset, exact. Flipping a bit
// of signed bytes makes them bytes from 0 on.
TTT_DEVICE std::uint32_t bytes_to_halves(const uint2& bytes, int i, float offset) {
  constexpr std::uint32_t kOneIsLastBit = 0x64006400U;  // 1024 in both halves
  const std::uint32_t spread = spread_bytes(i < 4 ? bytes.x : bytes.y, i % 4);
  return subtract_halves(kOneIsLastBit | spread, pack_half(1024.0F + offset, 1024.0F + offset));
}
TTT_DEVICE std::uint32_t same_halves(std::uint16_t half) {
  return half | static_cast<std::uint32_t>(half) << 16;
}

// Each type has eight(i): the blocks' bytes of weights i to i + 7, i a multiple of 8, as they are read. Their
// values can be asked for when they are there: value(i), and halves(i), two of them rounded to fp16. A number
// of 8 bits times a scale in fp16 has at most 19 bits: rounded from fp32, which holds it, or at once is the
// same.

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
    TTT_DEVICE std::uint32_t halves(int i) const {
      const uint2 from_zero = {quants.x ^ 0x80808080U, quants.y ^ 0x80808080U};
      return multiply_halves(bytes_to_halves(from_zero, i, 128.0F), same_halves(scale));
    }
  };
  TTT_DEVICE Eight eight(std::size_t i) const { return {eight_bytes(quants + i), scales[i / 32]}; }
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
    TTT_DEVICE std::uint32_t halves(int i) const {
      const uint2 low = {bytes.x >> shift & 0x0F0F0F0FU, bytes.y >> shift & 0x0F0F0F0FU};
      return multiply_halves(bytes_to_halves(low, i, 8.0F), same_halves(scale));
    }
  };
  TTT_DEVICE Eight eight(std::size_t i) const {
    return {eight_bytes(nibbles + i / 32 * 16 + i % 16), i % 32 < 16 ? 0U : 4U, scales[i / 32]};
  }
};

struct Q4_KWeights {
  const std::uint8_t* nibbles;  // [N / 2]
  const std::uint8_t* headers;  // [N / 256][16]: F16 scale and minimum, then 12 bytes of parts

  TTT_DEVICE Q4_KWeights(const void* planes, std::size_t count)
      : nibbles(static_cast<const std::uint8_t*>(planes)), headers(nibbles + count / 2) {}

  struct Eight {
    uint2 bytes;
    unsigned shift;
    float scale, minimum;

    TTT_DEVICE float value(int i) const {
      return scale * byte_to_float(byte_of(bytes, i) >> shift & 0xFU, 0.0F) - minimum;
    }
    TTT_DEVICE std::uint32_t halves(int i) const { return pack_half(value(i), value(i + 1)); }
  };
  TTT_DEVICE Eight eight(std::size_t i) const {
    const std::uint8_t* const header = headers + i / 256 * 16;
    const auto* const halves = reinterpret_cast<const std::uint16_t*>(header);
    const std::uint8_t* const parts = header + 4;
    const unsigned part = i % 256 / 32;
    // The first four parts have their 6 bits in a byte, whose upper two belong to the part four further on.
    const bool whole = part < 4;
    const unsigned scale = whole ? parts[part] & 0x3FU : (parts[part + 4] & 0xFU) | parts[part - 4] >> 6 << 4;
    const unsigned minimum = whole ? parts[part + 4] & 0x3FU : parts[part + 4] >> 4 | parts[part] >> 6 << 4;
    return {eight_bytes(nibbles + i / 64 * 32 + i % 32), i % 64 < 32 ? 0U : 4U,
            load_half(halves[0]) * byte_to_float(scale, 0.0F),
            load_half(halves[1]) * byte_to_float(minimum, 0.0F)};
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

  struct Eight {
    uint2 nibbles, crumbs;
    unsigned nibble_shift, crumb_shift;
    float scale;

    TTT_DEVICE float value(int i) const {
      const std::uint32_t lower = byte_of(nibbles, i) >> nibble_shift & 0xFU;
      const std::uint32_t upper = byte_of(crumbs, i) >> crumb_shift & 3U;
      return scale * byte_to_float(lower | upper << 4, 32.0F);
    }
    TTT_DEVICE std::uint32_t halves(int i) const { return pack_half(value(i), value(i + 1)); }
  };
  TTT_DEVICE Eight eight(std::size_t i) const {
    return {eight_bytes(nibbles + i / 128 * 64 + i % 64), eight_bytes(crumbs + i / 128 * 32 + i % 32),
            i % 128 < 64 ? 0U : 4U, static_cast<unsigned>(i % 128 / 32 * 2),
            load_half(scales[i / 256]) * byte_to_float(part_scales[i / 16] ^ 0x80U, 128.0F)};
  }
};

}  // namespace ttt::cuda
