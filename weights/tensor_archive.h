// SPDX-License-Identifier: Apache-2.0
// A checkpoint whose tensors are read one at a time, because they cannot be viewed in place.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "weights/tensor.h"

namespace ttt::weights {

struct ArchivedTensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};

class TensorArchive {
 public:
  virtual ~TensorArchive() = default;
  virtual const std::string& path() const = 0;
  virtual const std::vector<ArchivedTensor>& tensors() const = 0;  // in file order
  // The values of tensors()[index], dense, row-major, little endian. `to` has exactly
  // tensor_bytes(dtype, shape) bytes. Throws CheckpointError, std::system_error.
  virtual void read(std::size_t index, std::span<std::byte> to) const = 0;
};

}  // namespace ttt::weights
