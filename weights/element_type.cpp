// SPDX-License-Identifier: Apache-2.0
#include "weights/element_type.h"

#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "weights/block_types.h"
#include "weights/float16.h"

namespace ttt::weights {
namespace {

template <typename Convert>
void widen(std::span<const std::byte> bytes, std::span<float> out, Convert convert) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + i * sizeof(bits), sizeof(bits));
    out[i] = convert(bits);
  }
}

template <typename Convert>
void narrow(std::span<const float> values, std::span<std::byte> out, Convert convert) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t bits = convert(values[i]);
    std::memcpy(out.data() + i * sizeof(bits), &bits, sizeof(bits));
  }
}

void check_size(DType dtype, std::size_t num_bytes, std::size_t num_values) {
  const DTypeInfo& info = dtype_info(dtype);
  if (!is_weight_type(dtype) || num_values % info.block_elements != 0 ||
      num_bytes != num_values / info.block_elements * info.block_bytes) {
    throw std::logic_error("element_type: not a type of weights, or the sizes differ");
  }
}

}  // namespace

bool is_weight_type(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 || is_block_type(dtype);
}

void to_floats(DType dtype, std::span<const std::byte> bytes, std::span<float> out) {
  check_size(dtype, bytes.size(), out.size());
  if (out.empty()) return;
  if (dtype == DType::kF16) {
    widen(bytes, out, f16_to_float);
  } else if (dtype == DType::kBF16) {
    widen(bytes, out, bf16_to_float);
  } else if (is_block_type(dtype)) {
    dequantise(dtype, bytes, out);
  } else {
    std::memcpy(out.data(), bytes.data(), bytes.size());
  }
}

void from_floats(DType dtype, std::span<const float> values, std::span<std::byte> out) {
  check_size(dtype, out.size(), values.size());
  if (values.empty()) return;
  if (dtype == DType::kF16) {
    narrow(values, out, float_to_f16);
  } else if (dtype == DType::kBF16) {
    narrow(values, out, float_to_bf16);
  } else if (is_block_type(dtype)) {
    quantise(dtype, values, out);
  } else {
    std::memcpy(out.data(), values.data(), out.size());
  }
}

}  // namespace ttt::weights
