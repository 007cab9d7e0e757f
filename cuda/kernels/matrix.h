// SPDX-License-Identifier: Apache-2.0
// A weight matrix in device memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/kernels/operand_rows.h"

namespace ttt::cuda {

enum class MatrixType : std::uint8_t { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_K, kQ6_K };

// Whether consecutive weights of a row share scales; such a matrix lies in planes (cuda/block_planes.h).
constexpr bool is_block_type(MatrixType type) { return type >= MatrixType::kQ8_0; }

// Bytes of `count` weights, whole blocks of them.
constexpr std::size_t matrix_bytes(MatrixType type, std::size_t count) {
  switch (type) {
    case MatrixType::kF32:
      return count * 4;
    case MatrixType::kF16:
    case MatrixType::kBF16:
      return count * 2;
    case MatrixType::kQ8_0:
      return count / 32 * 34;
    case MatrixType::kQ4_0:
      return count / 32 * 18;
    case MatrixType::kQ4_K:
      return count / 256 * 144;
    case MatrixType::kQ6_K:
      return count / 256 * 210;
  }
  return 0;
}

struct Matrix {
  const void* data = nullptr;  // [outputs, inputs], row-major; a block type's planes
  std::uint32_t outputs = 0, inputs = 0;
  MatrixType type = MatrixType::kF32;
  OperandType operands = OperandType::kF32;  // of the rows that it multiplies

  std::size_t bytes() const { return matrix_bytes(type, std::size_t{outputs} * inputs); }
};

}  // namespace ttt::cuda
