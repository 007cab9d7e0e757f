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
};

// REQUIRES: is_block_type(type).
const BlockShape& block_shape(MatrixType type);

// REQUIRES: whole blocks; out.size() == number of blocks * part.bytes.
void gather_plane(const BlockShape& shape, const BlockPart& part, std::span<const std::byte> blocks,
                  std::span<std::byte> out);

}  // namespace ttt::cuda
