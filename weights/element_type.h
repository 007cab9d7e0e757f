// SPDX-License-Identifier: Apache-2.0
// Values of a tensor as fp32, and back: F32, F16 and BF16, from bytes at any alignment.
#pragma once

#include <cstddef>
#include <span>

#include "weights/tensor.h"

namespace ttt::weights {

// True for the types that to_floats and from_floats know.
bool is_float_type(DType dtype);

// REQUIRES: is_float_type(dtype); bytes hold exactly out.size() elements.
void to_floats(DType dtype, std::span<const std::byte> bytes, std::span<float> out);

// Rounds to nearest even. REQUIRES: as above.
void from_floats(DType dtype, std::span<const float> values, std::span<std::byte> out);

}  // namespace ttt::weights
