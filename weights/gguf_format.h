// SPDX-License-Identifier: Apache-2.0
// The constants of GGUF version 3 that the reader and the writer share. All numbers in a file are
// little-endian.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "weights/tensor.h"

namespace ttt::weights {

static_assert(std::endian::native == std::endian::little, "files are read and written without swapping");

inline constexpr std::string_view kGgufMagic = "GGUF";
inline constexpr std::uint32_t kGgufVersion = 3;
inline constexpr std::uint32_t kGgufDefaultAlignment = 32;
inline constexpr std::string_view kGgufAlignmentKey = "general.alignment";

enum class GgufType : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

// ggml's codes for tensor types. It has none for unsigned bytes and booleans.
inline constexpr std::array<std::pair<DType, std::uint32_t>, 20> kGgufTensorTypes = {{
    {DType::kF32, 0},   {DType::kF16, 1},   {DType::kQ4_0, 2},  {DType::kQ4_1, 3},  {DType::kQ5_0, 6},
    {DType::kQ5_1, 7},  {DType::kQ8_0, 8},  {DType::kQ8_1, 9},  {DType::kQ2_K, 10}, {DType::kQ3_K, 11},
    {DType::kQ4_K, 12}, {DType::kQ5_K, 13}, {DType::kQ6_K, 14}, {DType::kQ8_K, 15}, {DType::kI8, 24},
    {DType::kI16, 25},  {DType::kI32, 26},  {DType::kI64, 27},  {DType::kF64, 28},  {DType::kBF16, 30},
}};

inline std::optional<DType> dtype_from_gguf(std::uint32_t code) {
  for (const auto& [dtype, known] : kGgufTensorTypes) {
    if (known == code) return dtype;
  }
  return std::nullopt;
}

inline std::optional<std::uint32_t> gguf_from_dtype(DType dtype) {
  for (const auto& [known, code] : kGgufTensorTypes) {
    if (known == dtype) return code;
  }
  return std::nullopt;
}

}  // namespace ttt::weights
