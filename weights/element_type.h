// SPDX-License-Identifier: Apache-2.0
// Values of a tensor as fp32, and back: F32, F16, BF16 and the block types, from bytes at any alignment.
#pragma once

#include <cstddef>
#include <span>

#include "weights/tensor.h"

namespace ttt::weights {

// True for the types that to_floats and from_floats know: those that weights may have.
bool is_weight_type(DType dtype);

// REQUIRES: is_weight_type(dtype); bytes hold exactly out.size() elements, whole blocks of them.
void to_floats(DType dtype, std::span<const std::byte> bytes, std::span<float> out);

// 16-bit types round to nearest even, block types as block_types.h says. REQUIRES: as above.
void from_floats(DType dtype, std::span<const float> values, std::span<std::byte> out);

}  // namespace ttt::weights
