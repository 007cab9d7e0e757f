// SPDX-License-Identifier: Apache-2.0
// A random weight matrix as it lies in a file, and its values.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "tests/random.h"
#include "weights/element_type.h"
#include "weights/tensor.h"

namespace ttt::test {

inline std::vector<float> random_floats(Random& random, std::size_t count, double mean = 0.0,
                                        double scale = 1.0) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(mean + scale * random.symmetric());
  return values;
}

// Begins `shift` bytes after an aligned address.
struct StoredMatrix {
  StoredMatrix(Random& random, weights::DType dtype, std::size_t rows, std::size_t cols, std::size_t shift)
      : storage(rows * cols * 4 + shift), values(random_floats(random, rows * cols)) {
    const std::span<std::byte> bytes(
        storage.data() + shift,
        values.size() / weights::dtype_info(dtype).block_elements * weights::dtype_info(dtype).block_bytes);
    weights::from_floats(dtype, values, bytes);
    weights::to_floats(dtype, bytes, values);
    tensor = {.name = "w", .dtype = dtype, .shape = {rows, cols}, .bytes = bytes};
  }
  StoredMatrix(const StoredMatrix&) = delete;
  StoredMatrix& operator=(const StoredMatrix&) = delete;

  std::vector<std::byte> storage;
  std::vector<float> values;
  weights::TensorView tensor;
};

}  // namespace ttt::test
