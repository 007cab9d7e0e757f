// SPDX-License-Identifier: Apache-2.0
// y = x W^T for any number of rows. An output is one sum in one fixed order, for 1 row and for 1,000.
#pragma once

#include <cstddef>
#include <span>

#include "cpu/thread_pool.h"
#include "weights/tensor.h"

namespace ttt::cpu {

// A weight matrix [out, in] where it lies in the file: F32, F16 or BF16, at any alignment.
struct Matrix {
  weights::DType dtype = weights::DType::kF32;
  std::size_t rows = 0;  // out
  std::size_t cols = 0;  // in
  const std::byte* bytes = nullptr;
};

Matrix matrix_of(const weights::TensorView& tensor);  // REQUIRES: two extents

// Row `row` as floats: in place where the file allows, else converted into `scratch` [cols].
const float* row_as_floats(const Matrix& matrix, std::size_t row, float* scratch);

// y [num_rows, w.rows] = x [num_rows, w.cols] * w^T. `scratch`: w.cols floats for each thread of the pool.
void gemm(ThreadPool& pool, const Matrix& w, const float* x, std::size_t num_rows, float* y, float* scratch);

}  // namespace ttt::cpu
