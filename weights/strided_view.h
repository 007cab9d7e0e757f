// SPDX-License-Identifier: Apache-2.0
// A tensor as some of a storage's elements: transposed, sliced, or all of them. Lays such a view out densely
// while the storage passes by, so that the storage never has to be in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "weights/tensor.h"

namespace ttt::weights {

// Offset and strides in elements of the storage; as many strides as extents, at most limits::kMaxTensorRank.
struct StridedView {
  std::uint64_t offset = 0;
  Shape shape;
  Shape strides;
};

// One past the last element of the storage that the view has; `offset` for a view without elements. Empty if
// that does not fit in 64 bits, or if an element of the storage could stand at two places of the view: then a
// view of a few bytes could be of any size, and no parameter is one.
std::optional<std::uint64_t> end_of(const StridedView& view);

// True if the elements lie in the storage as they do in a dense row-major tensor.
bool is_dense(const StridedView& view);

// Copies those elements of the view that lie in `piece`, which begins at element `first` of the storage, to
// their places in `dense`. Time is in proportion to the elements copied. REQUIRES: end_of(view); whole
// elements.
void copy_strided(const StridedView& view, std::size_t element_bytes, std::uint64_t first,
                  std::span<const std::byte> piece, std::span<std::byte> dense);

}  // namespace ttt::weights
