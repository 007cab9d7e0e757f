// SPDX-License-Identifier: Apache-2.0
// Matrices of block types for the device: the bytes of a file, but in planes. What the blocks hold lies part
// by part, one block's after the other's, so that threads read long aligned runs.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "cuda/kernels/matrix.h"

namespace ttt::cuda {

// The bytes of each block that become a plane.
struct BlockPart {
  std::size_t offset = 0, bytes = 0;
};

struct BlockShape {
  std::size_t weights = 0, bytes = 0;  // of a block
  std::array<BlockPart, 4> planes;     // in the order in which they lie; the last may be empty
  // No weight is larger than |scale| * most_steps + |minimum| * most_minimums. Both lie in F16.
  std::size_t scale = 0, minimum = 0;  // offsets
  float most_steps = 0.0F, most_minimums = 0.0F;
};

// REQUIRES: is_block_type(type).
const BlockShape& block_shape(MatrixType type);

// A bound of the magnitudes of all weights, by the blocks' scales alone; NaN where one is NaN.
float largest_magnitude(const BlockShape& shape, std::span<const std::byte> blocks);

// REQUIRES: whole blocks; out.size() == number of blocks * part.bytes.
void gather_plane(const BlockShape& shape, const BlockPart& part, std::span<const std::byte> blocks,
                  std::span<std::byte> out);

}  // namespace ttt::cuda
