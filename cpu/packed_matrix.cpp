// SPDX-License-Identifier: Apache-2.0
#include "cpu/packed_matrix.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>

#include "weights/element_type.h"

namespace ttt::cpu {
namespace {

constexpr std::size_t kHugePage = std::size_t{1} << 21;
constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kTile = 16;  // inputs that are turned at a time: 16 x 16 weights fit the registers

// Panels are read from end to end: large pages spare the table walks.
std::byte* allocate(std::size_t size) {
  const std::size_t alignment = size < kHugePage ? kCacheLine : kHugePage;
  void* bytes = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (bytes == nullptr) throw std::bad_alloc();
  if (alignment == kHugePage) ::madvise(bytes, size, MADV_HUGEPAGE);  // advice: it may be refused
  return static_cast<std::byte*>(bytes);
}

// Turns rows [outputs][num_inputs], at any alignment, into a panel [num_inputs][16].
template <typename Element>
void pack_panel(const std::byte* rows, std::size_t num_outputs, std::size_t num_inputs, std::byte* panel) {
  auto* to = reinterpret_cast<Element*>(panel);
  for (std::size_t first = 0; first < num_inputs; first += kTile) {
    const std::size_t count = std::min(kTile, num_inputs - first);
    Element tile[kPanelOutputs][kTile] = {};
    for (std::size_t output = 0; output < num_outputs; ++output) {
      std::memcpy(tile[output], rows + (output * num_inputs + first) * sizeof(Element),
                  count * sizeof(Element));
    }
    for (std::size_t input = 0; input < count; ++input) {
      for (std::size_t output = 0; output < kPanelOutputs; ++output) *to++ = tile[output][input];
    }
  }
}

}  // namespace

PackedMatrix::PackedMatrix(const weights::TensorView& tensor, ThreadPool& pool)
    : dtype_(tensor.dtype),
      element_bytes_(weights::dtype_info(tensor.dtype).block_bytes),
      num_outputs_(static_cast<std::size_t>(tensor.shape.front())),
      num_inputs_(static_cast<std::size_t>(tensor.shape.back())),
      data_(allocate(bytes())) {
  pool.for_ranges(num_panels(), kPanelOutputs * num_inputs_,
                  [&](std::size_t begin, std::size_t end, std::size_t) {
                    for (std::size_t index = begin; index < end; ++index) {
                      const std::size_t first = index * kPanelOutputs;
                      const std::size_t count = std::min(kPanelOutputs, num_outputs_ - first);
                      const std::byte* rows = tensor.bytes.data() + first * num_inputs_ * element_bytes_;
                      std::byte* to = data_.get() + index * panel_bytes();
                      if (element_bytes_ == sizeof(float)) {
                        pack_panel<std::uint32_t>(rows, count, num_inputs_, to);
                      } else {
                        pack_panel<std::uint16_t>(rows, count, num_inputs_, to);
                      }
                    }
                  });
}

std::uint64_t PackedMatrix::planned_bytes(const weights::TensorView& tensor) {
  const std::uint64_t panels = (tensor.shape.front() + kPanelOutputs - 1) / kPanelOutputs;
  return panels * kPanelOutputs * tensor.shape.back() * weights::dtype_info(tensor.dtype).block_bytes;
}

void PackedMatrix::read_output(std::size_t output, float* to) const {
  const std::byte* at = panel(output / kPanelOutputs) + output % kPanelOutputs * element_bytes_;
  for (std::size_t input = 0; input < num_inputs_; ++input) {
    weights::to_floats(dtype_, {at, element_bytes_}, {to + input, 1});
    at += kPanelOutputs * element_bytes_;
  }
}

}  // namespace ttt::cpu
