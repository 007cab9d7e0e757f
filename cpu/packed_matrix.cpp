// SPDX-License-Identifier: Apache-2.0
#include "cpu/packed_matrix.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>

#include "weights/element_type.h"
#include "weights/float16.h"

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

void set_quant(PanelBlockQ8_0& block, std::size_t output, std::size_t input, int quant) {
  block.quants[input / 2][output][input % 2] = static_cast<std::int8_t>(quant);
}

void set_quant(PanelBlockQ4_0& block, std::size_t output, std::size_t input, int quant) {
  std::uint16_t& word = block.quants[input / 8][output][input % 2];
  word = static_cast<std::uint16_t>(word | (quant + 8) << (input % 8 / 2 * 4));
}

int quant_of(const PanelBlockQ8_0& block, std::size_t output, std::size_t input) {
  return block.quants[input / 2][output][input % 2];
}

int quant_of(const PanelBlockQ4_0& block, std::size_t output, std::size_t input) {
  return (block.quants[input / 8][output][input % 2] >> (input % 8 / 2 * 4) & 0xF) - 8;
}

// Turns rows of blocks, at any alignment, into a panel of blocks. An output that does not exist has scales of
// 0.
template <typename Block, typename PanelBlock>
void pack_blocks(const std::byte* rows, std::size_t num_outputs, std::size_t num_blocks, std::byte* panel) {
  for (std::size_t b = 0; b < num_blocks; ++b, panel += sizeof(PanelBlock)) {
    PanelBlock packed{};
    for (std::size_t output = 0; output < num_outputs; ++output) {
      Block block;
      std::memcpy(&block, rows + (output * num_blocks + b) * sizeof(Block), sizeof(Block));
      packed.scales[output] = block.scale;
      for (std::size_t i = 0; i < weights::kBlockWeights; ++i) {
        set_quant(packed, output, i, weights::quant(block, i));
      }
    }
    std::memcpy(panel, &packed, sizeof(packed));
  }
}

template <typename PanelBlock>
void read_blocks(const std::byte* panel, std::size_t output, std::size_t num_blocks, float* to) {
  for (std::size_t b = 0; b < num_blocks; ++b) {
    PanelBlock block;
    std::memcpy(&block, panel + b * sizeof(PanelBlock), sizeof(PanelBlock));
    const float scale = weights::f16_to_float(block.scales[output]);
    for (std::size_t i = 0; i < weights::kBlockWeights; ++i) {
      *to++ = scale * static_cast<float>(quant_of(block, output, i));
    }
  }
}

}  // namespace

PackedMatrix::PackedMatrix(const weights::TensorView& tensor, ThreadPool& pool)
    : dtype_(tensor.dtype),
      block_inputs_(weights::dtype_info(tensor.dtype).block_elements),
      block_bytes_(weights::dtype_info(tensor.dtype).block_bytes),
      num_outputs_(static_cast<std::size_t>(tensor.shape.front())),
      num_inputs_(static_cast<std::size_t>(tensor.shape.back())),
      data_(allocate(bytes())) {
  pool.for_ranges(num_panels(), kPanelOutputs * num_inputs_,
                  [&](std::size_t begin, std::size_t end, std::size_t) { pack_panels(tensor, begin, end); });
}

void PackedMatrix::pack_panels(const weights::TensorView& tensor, std::size_t begin, std::size_t end) {
  const std::size_t num_blocks = num_inputs_ / block_inputs_;
  for (std::size_t index = begin; index < end; ++index) {
    const std::size_t first = index * kPanelOutputs;
    const std::size_t count = std::min(kPanelOutputs, num_outputs_ - first);
    const std::byte* rows = tensor.bytes.data() + first * num_blocks * block_bytes_;
    std::byte* to = data_.get() + index * panel_bytes();
    if (dtype_ == weights::DType::kQ8_0) {
      pack_blocks<weights::BlockQ8_0, PanelBlockQ8_0>(rows, count, num_blocks, to);
    } else if (dtype_ == weights::DType::kQ4_0) {
      pack_blocks<weights::BlockQ4_0, PanelBlockQ4_0>(rows, count, num_blocks, to);
    } else if (dtype_ == weights::DType::kF32) {
      pack_panel<std::uint32_t>(rows, count, num_inputs_, to);
    } else {
      pack_panel<std::uint16_t>(rows, count, num_inputs_, to);
    }
  }
}

std::uint64_t PackedMatrix::planned_bytes(const weights::TensorView& tensor) {
  const weights::DTypeInfo& info = weights::dtype_info(tensor.dtype);
  const std::uint64_t panels = (tensor.shape.front() + kPanelOutputs - 1) / kPanelOutputs;
  return panels * kPanelOutputs * (tensor.shape.back() / info.block_elements) * info.block_bytes;
}

void PackedMatrix::read_output(std::size_t output, float* to) const {
  const std::byte* at = panel(output / kPanelOutputs);
  const std::size_t column = output % kPanelOutputs;
  if (dtype_ == weights::DType::kQ8_0) {
    return read_blocks<PanelBlockQ8_0>(at, column, num_inputs_ / block_inputs_, to);
  }
  if (dtype_ == weights::DType::kQ4_0) {
    return read_blocks<PanelBlockQ4_0>(at, column, num_inputs_ / block_inputs_, to);
  }
  at += column * block_bytes_;
  for (std::size_t input = 0; input < num_inputs_; ++input) {
    weights::to_floats(dtype_, {at, block_bytes_}, {to + input, 1});
    at += kPanelOutputs * block_bytes_;
  }
}

}  // namespace ttt::cpu
