// SPDX-License-Identifier: Apache-2.0
// A tensor's bytes in another type, a few MiB at a time: what hashing and converting read weights with.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "engine/model.h"
#include "weights/element_type.h"
#include "weights/tensor.h"

namespace ttt {

// A weight of the model with its bytes; where the model has to fetch them, they lie in `buffer`.
inline weights::TensorView with_bytes(const Model& model, const weights::TensorView& view,
                                      std::vector<std::byte>& buffer) {
  weights::TensorView whole = view;
  if (model.fetch) whole.bytes = model.fetch(view, buffer);
  return whole;
}

// Calls fn(source_bytes, bytes_as_type) for consecutive pieces until it returns false; then returns false.
// REQUIRES: both are types of weights (element_type.h), and divide the tensor's rows into whole blocks.
template <typename Fn>
bool for_each_piece_as(const weights::TensorView& tensor, weights::DType type, Fn&& fn) {
  constexpr std::size_t kPieceElements = 1U << 20;
  const weights::DTypeInfo& from = weights::dtype_info(tensor.dtype);
  const weights::DTypeInfo& to = weights::dtype_info(type);
  static_assert(kPieceElements % 256 == 0);  // whole blocks of every type
  std::vector<float> values;
  std::vector<std::byte> converted;
  for (auto rest = tensor.bytes; !rest.empty();) {
    const auto source =
        rest.first(std::min(rest.size(), kPieceElements / from.block_elements * from.block_bytes));
    rest = rest.subspan(source.size());
    if (type == tensor.dtype) {
      if (!fn(source, source)) return false;
      continue;
    }
    values.resize(source.size() / from.block_bytes * from.block_elements);
    converted.resize(values.size() / to.block_elements * to.block_bytes);
    weights::to_floats(tensor.dtype, source, values);
    weights::from_floats(type, values, converted);
    if (!fn(source, std::span<const std::byte>(converted))) return false;
  }
  return true;
}

}  // namespace ttt
