// SPDX-License-Identifier: Apache-2.0
// Rows of activations as operands of a product: fp32, or rounded once to 16 bits by the kernel that writes
// them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ttt::cuda {

enum class OperandType : std::uint8_t { kF32, kF16, kBF16 };

constexpr std::size_t bytes_of(OperandType type) { return type == OperandType::kF32 ? 4 : 2; }

struct OperandRows {
  void* data = nullptr;
  OperandType type = OperandType::kF32;
};

}  // namespace ttt::cuda
