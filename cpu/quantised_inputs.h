// SPDX-License-Identifier: Apache-2.0
// Inputs of products whose weights are in blocks (block_gemm.h): 32 consecutive inputs of a row become whole
// numbers with a scale of their own, so that a row never depends on its neighbours. Why:
// docs/decisions/0010-quantised-products.md
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/large_buffer.h"
#include "cpu/packed_matrix.h"

namespace ttt::cpu {

// So few bits behind the leading one that the product with a scale of a weight (of at most 17 bits) is exact,
// and can be an addition of exponents (panel_blocks-inl.h): it is neither subnormal nor infinite between
// these magnitudes.
inline constexpr int kScaleBits = 3;
inline constexpr float kLeastMagnitude = 0x1p-80F, kTooLarge = 0x1p100F;

// 256 inputs of a row, eight blocks. Nothing else lies between one row's and the next: so eight rows of 2,048
// fit the first-level cache.
struct alignas(64) QuantisedInputs {
  static constexpr std::size_t kBlocks = kBlockInputs / weights::kBlockWeights;
  std::int8_t values[kBlockInputs];  // -127 to 127
  float scales[kBlocks];
  // The sums of 32 and of 16 values times -kByteOffset: where sums of products begin whose weights are
  // kByteOffset too large.
  std::int32_t offsets[kBlocks];
  std::int32_t half_offsets[2 * kBlocks];
  float scaled_sums[kBlocks];  // scale * sum of the values
  float start;                 // of the sums of products of these inputs: 0, or NaN for all outputs
};

// The values as pairs, of each four their inputs 0 and 2, and 1 and 3: only for targets without VNNI, which
// multiply some weights in pairs.
struct alignas(64) PairedInputs {
  std::int16_t evens[kBlockInputs / 2], odds[kBlockInputs / 2];
};

// A block's scale is its largest magnitude / 127, rounded up to kScaleBits bits behind the leading one, and x
// is nearest(value * (1 / scale)), halves to even. A block below kLeastMagnitude becomes zeros with the scale
// 1. So does one with a magnitude from kTooLarge on or a NaN, and then `start` is NaN. REQUIRES: num_inputs
// is a multiple of 32, at most 256.
void quantise_inputs(const float* x, std::size_t num_inputs, QuantisedInputs& to, PairedInputs& pairs);

// Room for the quantised inputs of rows.
class QuantisedBuffer {
 public:
  QuantisedBuffer(std::size_t num_rows, std::size_t num_inputs)
      : inputs_(allocate_large(size(num_rows, num_inputs) * sizeof(QuantisedInputs))),
        pairs_(allocate_large(size(num_rows, num_inputs) * sizeof(PairedInputs))) {}

  static std::size_t bytes(std::size_t num_rows, std::size_t num_inputs) {
    const std::size_t count = size(num_rows, num_inputs);
    return large_buffer_bytes(count * sizeof(QuantisedInputs)) +
           large_buffer_bytes(count * sizeof(PairedInputs));
  }

  QuantisedInputs* inputs() { return reinterpret_cast<QuantisedInputs*>(inputs_.get()); }
  PairedInputs* pairs() { return reinterpret_cast<PairedInputs*>(pairs_.get()); }

 private:
  static constexpr std::size_t size(std::size_t num_rows, std::size_t num_inputs) {
    return num_rows * ((num_inputs + kBlockInputs - 1) / kBlockInputs);
  }

  LargeBuffer inputs_, pairs_;
};

// Of rows of quantised inputs.
struct QuantisedRows {
  QuantisedRows operator+(std::size_t rows) const { return {inputs + rows, pairs + rows}; }

  const QuantisedInputs* inputs;
  const PairedInputs* pairs;
};

}  // namespace ttt::cpu
