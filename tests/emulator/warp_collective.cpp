// SPDX-License-Identifier: Apache-2.0
// Shuffles and matrix instructions, from the fragment layouts of the PTX manual. In what follows, lane = 4
// group + member; a fragment's register holds two neighbouring 16-bit elements, the first in its low half.
#include "tests/emulator/warp_collective.h"

#include <bit>

namespace ttt::emulator {
namespace {

unsigned lane_of_me() { return current_thread->thread_index.x % kWarpSize; }

float from_bf16(std::uint32_t bits) { return std::bit_cast<float>(bits << 16); }

float from_fp16(std::uint32_t bits) {
  const auto sign = (bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1FU, fraction = bits & 0x3FFU;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000U | (fraction << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
}

float half_of(HalfType type, std::uint32_t pair, unsigned which) {
  const std::uint32_t bits = which == 0 ? pair & 0xFFFFU : pair >> 16;
  return type == HalfType::kBf16 ? from_bf16(bits) : from_fp16(bits);
}

// Element (row, column) of an 8x8 matrix whose row r is the word run `row_words(r)`.
std::uint32_t pick(std::uint32_t pair, unsigned column) {
  return column % 2 == 0 ? pair & 0xFFFFU : pair >> 16;
}

}  // namespace

void sync_warp(const Site& site) { enter_collective("sync_warp", nullptr, 0, site, true); }

std::uint32_t shuffle_xor(std::uint32_t value, unsigned mask, const Site& site) {
  return enter_collective("shuffle_xor", &value, 1, site, false)[(lane_of_me() ^ mask) % kWarpSize][0];
}

std::uint32_t shuffle(std::uint32_t value, unsigned lane, const Site& site) {
  return enter_collective("shuffle", &value, 1, site, false)[lane % kWarpSize][0];
}

// movmatrix: lane (group, member) holds elements (group, 2 member) and the next; it gets those of the
// transposed.
std::uint32_t transpose_8x8(std::uint32_t row_pair, const Site& site) {
  const LaneWords& words = enter_collective("transpose_8x8", &row_pair, 1, site, false);
  const unsigned column = lane_of_me() / 4, row = 2 * (lane_of_me() % 4);
  const std::uint32_t first = pick(words[4 * row + column / 2][0], column);
  const std::uint32_t second = pick(words[4 * (row + 1) + column / 2][0], column);
  return first | (second << 16);
}

// ldmatrix.x4: lane 8 m + r gives row r of matrix m. Register m of lane (group, member) gets elements (group,
// 2 member) and the next of matrix m, or of its transposed.
void load_matrices(std::uint32_t (&fragment)[4], const std::uint32_t (&row)[4], bool transposed,
                   const Site& site) {
  const LaneWords& words =
      enter_collective(transposed ? "load_matrices_transposed" : "load_matrices", row, 4, site, false);
  const unsigned group = lane_of_me() / 4, member = lane_of_me() % 4;
  for (unsigned matrix = 0; matrix < 4; ++matrix) {
    if (transposed) {
      fragment[matrix] = pick(words[8 * matrix + 2 * member][group / 2], group) |
                         (pick(words[8 * matrix + 2 * member + 1][group / 2], group) << 16);
    } else {
      fragment[matrix] = words[8 * matrix + group][member];
    }
  }
}

// mma.m16n8k16, row.col. Registers of lane (group, member):
//   a[0] (group, 2 member), a[1] (group + 8, 2 member), a[2], a[3] the same with column + 8
//   b0 (2 member, group), b1 (2 member + 8, group)
//   d[0], d[1] (group, 2 member) and the next; d[2], d[3] the same in row group + 8
void multiply_accumulate(HalfType type, float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                         std::uint32_t b1, const Site& site) {
  const std::uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const LaneWords& words =
      enter_collective(type == HalfType::kBf16 ? "mma_bf16" : "mma_fp16", mine, 6, site, false);
  const unsigned group = lane_of_me() / 4, member = lane_of_me() % 4;
  for (unsigned k = 0; k < 16; ++k) {
    const unsigned owner = k % 8 / 2, half = k % 2, upper = k / 8;
    const std::uint32_t* row = words[4 * group + owner];
    const float a_low = half_of(type, row[2 * upper], half), a_high = half_of(type, row[2 * upper + 1], half);
    for (unsigned column = 0; column < 2; ++column) {
      const float b = half_of(type, words[4 * (2 * member + column) + owner][4 + upper], half);
      d[column] += a_low * b;
      d[2 + column] += a_high * b;
    }
  }
}

}  // namespace ttt::emulator
