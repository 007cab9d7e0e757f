// SPDX-License-Identifier: Apache-2.0
// Elements of operand rows. The type is the same for a whole launch: the branch on it costs nothing beside
// the memory.
#pragma once

#include "cuda/kernels/device.cuh"
#include "cuda/kernels/operand_rows.h"

namespace ttt::cuda {

constexpr float kLargestHalf = 65504.0F;

// Too large a number becomes the largest; NaN stays NaN.
TTT_DEVICE float saturate_half(float x) {
  return x > kLargestHalf ? kLargestHalf : (x < -kLargestHalf ? -kLargestHalf : x);
}

TTT_DEVICE float load_operand(const OperandRows& rows, std::size_t i) {
  if (rows.type == OperandType::kF32) return static_cast<const float*>(rows.data)[i];
  const std::uint16_t bits = static_cast<const std::uint16_t*>(rows.data)[i];
  return rows.type == OperandType::kF16 ? load_half(bits) : load_bf16(bits);
}

TTT_DEVICE void store_operand(const OperandRows& rows, std::size_t i, float x) {
  if (rows.type == OperandType::kF32) {
    static_cast<float*>(rows.data)[i] = x;
    return;
  }
  const std::uint32_t pair =
      rows.type == OperandType::kF16 ? pack_half(saturate_half(x), 0.0F) : pack_bf16(x, 0.0F);
  static_cast<std::uint16_t*>(rows.data)[i] = static_cast<std::uint16_t>(pair);
}

}  // namespace ttt::cuda
