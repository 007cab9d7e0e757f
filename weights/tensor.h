// SPDX-License-Identifier: Apache-2.0
// A tensor as it lies in a file: name, type, shape and bytes. Views own nothing; the file that they came
// from must outlive them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ttt::weights {

// Element types of the containers we read. The numbers are ours; each format maps its own codes.
enum class DType : std::uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
  // ggml's block types: a row is a whole number of blocks.
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ8_1,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kQ8_K,
};

struct DTypeInfo {
  std::string_view name;         // "F32", "Q4_K": as users of GGUF know it
  std::uint32_t block_elements;  // 1 for plain types
  std::uint32_t block_bytes;
};

const DTypeInfo& dtype_info(DType dtype);
std::optional<DType> dtype_from_name(std::string_view name);  // "F32", any letter case

// Row-major, outermost extent first: a [out, in] matrix has shape {out, in}, in GGUF and safetensors
// alike (GGUF files list extents innermost first; the reader turns them round).
using Shape = std::vector<std::uint64_t>;

std::string to_string(const Shape& shape);  // "[768, 2048]"
std::optional<std::uint64_t> num_elements(const Shape& shape);
// Bytes of a dense tensor; empty on overflow or where a block type does not divide the last extent.
std::optional<std::uint64_t> tensor_bytes(DType dtype, const Shape& shape);

struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;  // exactly tensor_bytes(dtype, shape); may be unaligned
};

}  // namespace ttt::weights
