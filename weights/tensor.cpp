// SPDX-License-Identifier: Apache-2.0
#include "weights/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "weights/checked.h"

namespace ttt::weights {
namespace {

// In the order of DType. Block sizes as ggml defines them; QK_K is 256.
constexpr std::array<DTypeInfo, 22> kInfos = {{
    {"F64", 1, 8},
    {"F32", 1, 4},
    {"F16", 1, 2},
    {"BF16", 1, 2},
    {"I64", 1, 8},
    {"I32", 1, 4},
    {"I16", 1, 2},
    {"I8", 1, 1},
    {"U8", 1, 1},
    {"BOOL", 1, 1},
    {"Q4_0", 32, 2 + 16},                  // scale, nibbles
    {"Q4_1", 32, 2 + 2 + 16},              // scale, minimum, nibbles
    {"Q5_0", 32, 2 + 4 + 16},              // scale, fifth bits, nibbles
    {"Q5_1", 32, 2 + 2 + 4 + 16},          // scale, minimum, fifth bits, nibbles
    {"Q8_0", 32, 2 + 32},                  // scale, bytes
    {"Q8_1", 32, 2 + 2 + 32},              // scale, scaled sum, bytes
    {"Q2_K", 256, 16 + 64 + 2 + 2},        // sub-scales, crumbs, scale, minimum
    {"Q3_K", 256, 32 + 64 + 12 + 2},       // third bits, crumbs, sub-scales, scale
    {"Q4_K", 256, 2 + 2 + 12 + 128},       // scale, minimum, sub-scales, nibbles
    {"Q5_K", 256, 2 + 2 + 12 + 32 + 128},  // as Q4_K, with fifth bits
    {"Q6_K", 256, 128 + 64 + 16 + 2},      // nibbles, upper crumbs, sub-scales, scale
    {"Q8_K", 256, 4 + 256 + 2 * 16},       // fp32 scale, bytes, sums of 16
}};
static_assert(kInfos.size() == static_cast<std::size_t>(DType::kQ8_K) + 1);

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

}  // namespace

const DTypeInfo& dtype_info(DType dtype) { return kInfos.at(static_cast<std::size_t>(dtype)); }

std::optional<DType> dtype_from_name(std::string_view name) {
  const auto same = [&](const DTypeInfo& info) {
    return std::ranges::equal(name, info.name, {}, upper, upper);
  };
  const auto found = std::ranges::find_if(kInfos, same);
  if (found == kInfos.end()) return std::nullopt;
  return static_cast<DType>(found - kInfos.begin());
}

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::optional<std::uint64_t> num_elements(const Shape& shape) { return checked_product(shape); }

std::optional<std::uint64_t> tensor_bytes(DType dtype, const Shape& shape) {
  const DTypeInfo& info = dtype_info(dtype);
  const auto elements = num_elements(shape);
  if (!elements) return std::nullopt;
  const std::uint64_t row = shape.empty() ? 1 : shape.back();
  if (row % info.block_elements != 0) return std::nullopt;
  return checked_mul(*elements / info.block_elements, info.block_bytes);
}

}  // namespace ttt::weights
