// SPDX-License-Identifier: Apache-2.0
#include "cpu/gemm.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <vector>

#include "tests/error_metric.h"
#include "tests/random.h"
#include "weights/element_type.h"

using namespace ttt;
using weights::DType;

namespace {

std::vector<float> random_floats(test::Random& random, std::size_t count) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.symmetric());
  return values;
}

// A matrix in `dtype` that begins `shift` bytes after an aligned address, and its values.
struct StoredMatrix {
  StoredMatrix(test::Random& random, DType dtype, std::size_t rows, std::size_t cols, std::size_t shift)
      : storage(rows * cols * 4 + shift), values(random_floats(random, rows * cols)) {
    const std::span<std::byte> bytes(storage.data() + shift,
                                     values.size() * weights::dtype_info(dtype).block_bytes);
    weights::from_floats(dtype, values, bytes);
    weights::to_floats(dtype, bytes, values);
    matrix = {dtype, rows, cols, bytes.data()};
  }
  std::vector<std::byte> storage;
  std::vector<float> values;
  cpu::Matrix matrix;
};

std::vector<float> run(const cpu::Matrix& matrix, const std::vector<float>& x, std::size_t rows,
                       std::size_t threads) {
  cpu::ThreadPool pool(threads);
  std::vector<float> y(rows * matrix.rows);
  std::vector<float> scratch(threads * matrix.cols);
  cpu::gemm(pool, matrix, x.data(), rows, y.data(), scratch.data());
  return y;
}

}  // namespace

TEST_CASE("products equal the oracle for every type, odd sizes and any alignment") {
  test::Random random(1);
  const DType dtype = GENERATE(DType::kF32, DType::kF16, DType::kBF16);
  const std::size_t shift = GENERATE(0U, 1U, 2U);
  const std::size_t cols = GENERATE(1U, 7U, 8U, 65U);
  const std::size_t num_rows = GENERATE(1U, 3U, 4U, 9U);
  const StoredMatrix w(random, dtype, 5, cols, shift);
  const std::vector<float> x = random_floats(random, num_rows * cols);
  std::vector<double> expected(num_rows * 5);
  for (std::size_t r = 0; r < num_rows; ++r) {
    for (std::size_t o = 0; o < 5; ++o) {
      for (std::size_t i = 0; i < cols; ++i) {
        expected[r * 5 + o] +=
            static_cast<double>(x[r * cols + i]) * static_cast<double>(w.values[o * cols + i]);
      }
    }
  }
  const std::vector<float> y = run(w.matrix, x, num_rows, 1);
  // cols / 8 + 3 roundings of terms of size 1.
  CHECK(test::max_difference(test::to_doubles(y), expected) <= 6e-8 * static_cast<double>(cols + 24));
}

TEST_CASE("a row's product has the same bits alone, among 1,000 rows and with any number of threads") {
  test::Random random(2);
  const DType dtype = GENERATE(DType::kF32, DType::kBF16);
  const std::size_t cols = GENERATE(64U, 99U);
  const StoredMatrix w(random, dtype, 37, cols, 0);
  const std::size_t num_rows = 1000;
  const std::vector<float> x = random_floats(random, num_rows * cols);
  const std::vector<float> all = run(w.matrix, x, num_rows, 1);
  CHECK(run(w.matrix, x, num_rows, 2) == all);
  CHECK(run(w.matrix, x, num_rows, 5) == all);
  for (const std::size_t row : {0U, 1U, 2U, 3U, 500U, 999U}) {
    const std::vector<float> one(x.begin() + static_cast<std::ptrdiff_t>(row * cols),
                                 x.begin() + static_cast<std::ptrdiff_t>((row + 1) * cols));
    const std::vector<float> y = run(w.matrix, one, 1, 2);
    CHECK(std::equal(y.begin(), y.end(), all.begin() + static_cast<std::ptrdiff_t>(row * 37)));
  }
}
