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

// Neighbouring elements, read and written at once: the first is a multiple of kCount (1, 2 or 4) in memory.
template <int kCount>
struct alignas(kCount * sizeof(float)) Elements {
  float at[kCount];
};
template <int kCount>
struct alignas(kCount * sizeof(std::uint16_t)) HalfElements {
  std::uint16_t at[kCount];
};

template <int kCount>
TTT_DEVICE Elements<kCount> load_floats(const float* from) {
  return *reinterpret_cast<const Elements<kCount>*>(from);
}

template <int kCount>
TTT_DEVICE void store_floats(float* to, const Elements<kCount>& elements) {
  *reinterpret_cast<Elements<kCount>*>(to) = elements;
}

template <int kCount>
TTT_DEVICE Elements<kCount> load_operands(const OperandRows& rows, std::size_t i) {
  if (rows.type == OperandType::kF32) return load_floats<kCount>(static_cast<const float*>(rows.data) + i);
  const auto halves =
      *reinterpret_cast<const HalfElements<kCount>*>(static_cast<const std::uint16_t*>(rows.data) + i);
  Elements<kCount> elements;
  TTT_UNROLL for (int e = 0; e < kCount; ++e) {
    elements.at[e] = rows.type == OperandType::kF16 ? load_half(halves.at[e]) : load_bf16(halves.at[e]);
  }
  return elements;
}

template <int kCount>
TTT_DEVICE void store_operands(const OperandRows& rows, std::size_t i, const Elements<kCount>& elements) {
  if (rows.type == OperandType::kF32) return store_floats(static_cast<float*>(rows.data) + i, elements);
  HalfElements<kCount> halves;
  TTT_UNROLL for (int e = 0; e < kCount; ++e) {
    const float x = elements.at[e];
    halves.at[e] = static_cast<std::uint16_t>(
        rows.type == OperandType::kF16 ? pack_half(saturate_half(x), 0.0F) : pack_bf16(x, 0.0F));
  }
  *reinterpret_cast<HalfElements<kCount>*>(static_cast<std::uint16_t*>(rows.data) + i) = halves;
}

// One element.
TTT_DEVICE void store_operand(const OperandRows& rows, std::size_t i, float x) {
  store_operands<1>(rows, i, {{x}});
}

}  // namespace ttt::cuda
