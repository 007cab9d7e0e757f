// SPDX-License-Identifier: Apache-2.0
#include "engine/archived_weight.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

namespace ttt {
namespace {

// Values of `rows` x `columns` elements, turned into `columns` x `rows`.
template <typename Element>
void transpose(std::span<const std::byte> from, std::span<std::byte> to, std::size_t rows,
               std::size_t columns) {
  constexpr std::size_t kTile = 32;  // rows and columns at a time: both sides stay in the first-level cache
  for (std::size_t row_0 = 0; row_0 < rows; row_0 += kTile) {
    for (std::size_t column_0 = 0; column_0 < columns; column_0 += kTile) {
      for (std::size_t row = row_0; row < std::min(row_0 + kTile, rows); ++row) {
        for (std::size_t column = column_0; column < std::min(column_0 + kTile, columns); ++column) {
          std::memcpy(to.data() + (column * rows + row) * sizeof(Element),
                      from.data() + (row * columns + column) * sizeof(Element), sizeof(Element));
        }
      }
    }
  }
}

std::vector<std::byte> read_tensor(const weights::TensorArchive& archive, std::size_t index) {
  const weights::ArchivedTensor& tensor = archive.tensors()[index];
  std::vector<std::byte> bytes(
      static_cast<std::size_t>(weights::tensor_bytes(tensor.dtype, tensor.shape).value()));
  archive.read(index, bytes);
  return bytes;
}

}  // namespace

std::vector<std::byte> read_archived(const weights::TensorArchive& archive, std::size_t index,
                                     bool is_transposed) {
  std::vector<std::byte> bytes = read_tensor(archive, index);
  if (!is_transposed) return bytes;
  const weights::ArchivedTensor& tensor = archive.tensors()[index];
  std::vector<std::byte> turned(bytes.size());
  const auto rows = static_cast<std::size_t>(tensor.shape.front());
  const auto columns = static_cast<std::size_t>(tensor.shape.back());
  if (weights::dtype_info(tensor.dtype).block_bytes == 2) {
    transpose<std::uint16_t>(bytes, turned, rows, columns);
  } else {
    transpose<float>(bytes, turned, rows, columns);
  }
  return turned;
}

}  // namespace ttt
