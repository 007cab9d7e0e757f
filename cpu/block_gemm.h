// SPDX-License-Identifier: Apache-2.0
// The part of gemm.h for weights in blocks (Q8_0, Q4_0, Q4_K, Q6_K). x is quantised before: 32 consecutive
// inputs of a row become integers from -127 to 127 with an fp32 scale of their own, so a row's result does
// not depend on its neighbours. The sum of a block is an exact integer; it is multiplied by the product of
// both scales and added in fp32, without fused steps: the same bits on every target (those of a NaN apart).
// Where weights have minimums (Q4_K), 256 inputs begin with those, each times the scaled sum of its 32
// inputs. docs/decisions/0010-quantised-products.md, 0013-k-types.md
#pragma once

#include <cstddef>

#include "cpu/packed_matrix.h"
#include "cpu/quantised_inputs.h"

namespace ttt::cpu {

// Rows of x, as floats and quantised.
struct GemmRows {
  const float* x;  // [num_rows, num_inputs]
  std::size_t num_rows;
  // [blocks of 256 inputs][quantised_stride], of which the first num_rows count; only weights in blocks read
  // it
  QuantisedRows quantised;
  std::size_t quantised_stride;
};

// gemm_panels() of gemm.h, with the same scratch. REQUIRES: is_block_type(w.dtype()).
void block_gemm_panels(const PackedMatrix& w, std::size_t begin, std::size_t end, const GemmRows& x, float* y,
                       float* scratch);

}  // namespace ttt::cpu
