// SPDX-License-Identifier: Apache-2.0
// A weight matrix in device memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/kernels/operand_rows.h"

namespace ttt::cuda {

enum class MatrixType : std::uint8_t { kF32, kF16, kBF16 };

constexpr std::size_t bytes_of(MatrixType type) { return type == MatrixType::kF32 ? 4 : 2; }

struct Matrix {
  const void* data = nullptr;  // [outputs, inputs], row-major
  std::uint32_t outputs = 0, inputs = 0;
  MatrixType type = MatrixType::kF32;
  OperandType operands = OperandType::kF32;  // of the rows that it multiplies

  std::size_t bytes() const { return std::size_t{outputs} * inputs * bytes_of(type); }
};

}  // namespace ttt::cuda
