// SPDX-License-Identifier: Apache-2.0
#include "cpu/gemm.h"

#include <cstdint>

#include "cpu/vector_math.h"
#include "weights/element_type.h"

namespace ttt::cpu {
namespace {

constexpr std::size_t kRowTile = 4;  // rows that share one load of the weights: 4 x 8 partial sums

// Four dot products with the same `w`; each has exactly the order of dot().
void dot4(const float* w, const float* x, std::size_t size, float* out, std::size_t out_stride) {
  Lanes sums[kRowTile] = {};
  std::size_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    Lanes weight;
    load_lanes(w + i, weight);
    for (std::size_t row = 0; row < kRowTile; ++row) {
      Lanes value;
      load_lanes(x + row * size + i, value);
      sums[row] += value * weight;
    }
  }
  for (std::size_t lane = 0; i < size; ++i, ++lane) {
    for (std::size_t row = 0; row < kRowTile; ++row) sums[row][lane] += x[row * size + i] * w[i];
  }
  for (std::size_t row = 0; row < kRowTile; ++row) out[row * out_stride] = sum_lanes(sums[row]);
}

}  // namespace

Matrix matrix_of(const weights::TensorView& tensor) {
  return {tensor.dtype, static_cast<std::size_t>(tensor.shape.at(0)),
          static_cast<std::size_t>(tensor.shape.at(1)), tensor.bytes.data()};
}

const float* row_as_floats(const Matrix& matrix, std::size_t row, float* scratch) {
  const std::size_t row_bytes = matrix.cols * weights::dtype_info(matrix.dtype).block_bytes;
  const std::byte* bytes = matrix.bytes + row * row_bytes;
  const bool in_place =
      matrix.dtype == weights::DType::kF32 && reinterpret_cast<std::uintptr_t>(bytes) % alignof(float) == 0;
  if (in_place) return reinterpret_cast<const float*>(bytes);
  weights::to_floats(matrix.dtype, {bytes, row_bytes}, {scratch, matrix.cols});
  return scratch;
}

void gemm(ThreadPool& pool, const Matrix& w, const float* x, std::size_t num_rows, float* y, float* scratch) {
  pool.for_ranges(w.rows, num_rows * w.cols, [&](std::size_t begin, std::size_t end, std::size_t thread) {
    float* row_scratch = scratch + thread * w.cols;
    for (std::size_t out = begin; out < end; ++out) {
      const float* weight = row_as_floats(w, out, row_scratch);
      std::size_t row = 0;
      for (; row + kRowTile <= num_rows; row += kRowTile) {
        dot4(weight, x + row * w.cols, w.cols, y + row * w.rows + out, w.rows);
      }
      for (; row < num_rows; ++row) y[row * w.rows + out] = dot(x + row * w.cols, weight, w.cols);
    }
  });
}

}  // namespace ttt::cpu
