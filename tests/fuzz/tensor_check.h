// SPDX-License-Identifier: Apache-2.0
// What a fuzz target asserts of every file that a reader accepts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "weights/element_type.h"
#include "weights/tensor.h"

namespace ttt::weights {

inline void require(bool condition) {
  if (!condition) std::abort();
}

// Every tensor has the bytes its shape asks for, inside the file, and together they are no more than the
// file.
template <typename File>
void check_tensors(const File& file, std::span<const std::byte> whole) {
  std::uint64_t sum = 0;
  for (const TensorView& tensor : file.tensors()) {
    const auto size = tensor_bytes(tensor.dtype, tensor.shape);
    require(size && *size == tensor.bytes.size());
    require(file.find_tensor(tensor.name) == &tensor);
    sum += *size;
    if (tensor.bytes.empty()) continue;
    if (is_weight_type(tensor.dtype)) {  // whatever the bytes: they stand for some numbers
      std::vector<float> values(*num_elements(tensor.shape));
      to_floats(tensor.dtype, tensor.bytes, values);
    }
    const auto begin = static_cast<std::uint64_t>(tensor.bytes.data() - whole.data());
    require(begin < whole.size() && *size <= whole.size() - begin);
    [[maybe_unused]] const volatile std::byte first =
        tensor.bytes.front();  // a sanitizer sees a wild pointer
    [[maybe_unused]] const volatile std::byte last = tensor.bytes.back();
  }
  require(sum <= whole.size());
}

}  // namespace ttt::weights
