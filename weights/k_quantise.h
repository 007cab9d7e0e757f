// SPDX-License-Identifier: Apache-2.0
// 256 weights -> a block of Q4_K or Q6_K, with the least sum of squared errors that a short search finds: the
// scale (and minimum) of each part by least squares for several ways to round it, then the whole numbers
// around them for the scales that the block can hold. docs/decisions/0013-k-types.md has how near the
// best that comes. The result depends on the values alone: the same on every machine.
#pragma once

#include "weights/block_types.h"

namespace ttt::weights {

// No weight is off by more than k_type_error() of the block's largest magnitude.
BlockQ4_K quantise_q4_k(const float* values);
BlockQ6_K quantise_q6_k(const float* values);

// One step of a part that spans from -largest to largest, and what the smallest F16 adds.
// REQUIRES: dtype is kQ4_K or kQ6_K.
double k_type_error(DType dtype, double largest);

}  // namespace ttt::weights
