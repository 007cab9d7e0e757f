// SPDX-License-Identifier: Apache-2.0
// How far x w^T of the CPU's kernels (cpu/gemm.h) is from float64, over what their order of operations
// allows. Nothing here is shared with them: inputs are quantised once more, weights are read as the file has
// them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "weights/block_types.h"
#include "weights/float16.h"
#include "weights/tensor.h"

namespace ttt::test {

struct CheckedProduct {
  const float* x;            // [rows, inputs]
  std::span<const float> w;  // [outputs, inputs], what the stored weights stand for
  std::size_t rows, outputs, inputs;
  std::size_t output_step = 1;  // only every so many outputs are looked at
};

// The error over its bound where it is greater; else 0. NaN, or an infinite error, is far beyond any bound.
inline double excess(double error, double bound) {
  if (error <= bound) return 0.0;
  return std::isfinite(error) ? error / bound : 1e9;
}

// The largest error over its bound, 0 where all are within. A block's sum of n terms is n fused steps, or 2n
// roundings without FMA of which a term meets n + 1 at most; then come the sums of the blocks of 256. So the
// error is at most (n + 1 + blocks) * 2^-24 * sum of |x w|, to first order.
inline double plain_error_over_bound(std::span<const float> y, const CheckedProduct& p) {
  constexpr std::size_t kSummed = 256;  // inputs, from zero
  const auto steps = static_cast<double>(std::min(p.inputs, kSummed) + 1 + p.inputs / kSummed);
  double largest = 0.0;
  for (std::size_t r = 0; r < p.rows; ++r) {
    for (std::size_t o = 0; o < p.outputs; o += p.output_step) {
      double sum = 0.0, magnitude = 0.0;
      for (std::size_t i = 0; i < p.inputs; ++i) {
        const double term =
            static_cast<double>(p.x[r * p.inputs + i]) * static_cast<double>(p.w[o * p.inputs + i]);
        sum += term;
        magnitude += std::abs(term);
      }
      const double error = std::abs(static_cast<double>(y[r * p.outputs + o]) - sum);
      largest = std::max(largest, excess(error, 1.01 * steps * 0x1p-24 * magnitude));
    }
  }
  return largest;
}

// 32 inputs as the kernels must see them: whole numbers from -127 to 127, and their scale, which has three
// bits behind the leading one. REQUIRES: the largest magnitude is neither too small nor too large
// (cpu/quantised_inputs.h).
struct NaiveBlock {
  double scale;
  std::vector<double> values;
};

inline NaiveBlock quantise_block(const float* x) {
  float largest = 0.0F;
  for (std::size_t i = 0; i < weights::kBlockWeights; ++i) largest = std::max(largest, std::abs(x[i]));
  const float least = largest / 127.0F;
  const float unit = std::ldexp(1.0F, std::ilogb(least) - 3);
  NaiveBlock block{static_cast<double>(std::ceil(least / unit) * unit), {}};
  const float factor = 1.0F / static_cast<float>(block.scale);
  for (std::size_t i = 0; i < weights::kBlockWeights; ++i) {
    block.values.push_back(static_cast<double>(std::nearbyint(x[i] * factor)));
  }
  return block;
}

// Weights in blocks of 256 are rounded themselves as floats: the magnitudes that each is the difference of.
inline std::vector<double> spans_of(const weights::TensorView& tensor, std::span<const float> values) {
  std::vector<double> spans(values.size());
  for (std::size_t i = 0; i < spans.size(); ++i) {
    spans[i] = std::abs(static_cast<double>(values[i]));
    if (tensor.dtype != weights::DType::kQ4_K) continue;
    weights::BlockQ4_K block;
    std::memcpy(&block, tensor.bytes.data() + i / 256 * sizeof(block), sizeof(block));
    const int part = weights::part_minimum(block, i % 256 / weights::BlockQ4_K::kPart);
    spans[i] += 2.0 * std::abs(static_cast<double>(weights::f16_to_float(block.minimum)) * part);
  }
  return spans;
}

// The same for weights in blocks. A block's term is exact, as the product of its scales is, but for that
// product with the integer, one rounding. A term then meets the sums inside 256 inputs, eight at most, and
// one for each 256 inputs. So the error is at most (9 + number of 256) * 2^-24 * sum of |terms|, to first
// order.
//
// `spans`: of spans_of(), for blocks of 256. Then there are eight additions more for the minimums, and two
// roundings of each.
inline double block_error_over_bound(std::span<const float> y, const CheckedProduct& p,
                                     std::span<const double> spans = {}) {
  constexpr std::size_t kBlock = weights::kBlockWeights;
  const double steps = (spans.empty() ? 9.0 : 20.0) + static_cast<double>((p.inputs + 255) / 256);
  double largest = 0.0;
  for (std::size_t r = 0; r < p.rows; ++r) {
    std::vector<NaiveBlock> blocks;
    for (std::size_t i = 0; i < p.inputs; i += kBlock)
      blocks.push_back(quantise_block(p.x + r * p.inputs + i));
    for (std::size_t o = 0; o < p.outputs; o += p.output_step) {
      double sum = 0.0, magnitude = 0.0;
      for (std::size_t b = 0; b < blocks.size(); ++b) {
        const std::size_t at = o * p.inputs + b * kBlock;
        const double* const values = blocks[b].values.data();
        double term = 0.0, span = 0.0;
        for (std::size_t i = 0; i < kBlock; ++i) term += values[i] * static_cast<double>(p.w[at + i]);
        for (std::size_t i = 0; i < (spans.empty() ? 0 : kBlock); ++i)
          span += std::abs(values[i]) * spans[at + i];
        sum += blocks[b].scale * term;
        magnitude += blocks[b].scale * (spans.empty() ? std::abs(term) : span);
      }
      const double error = std::abs(static_cast<double>(y[r * p.outputs + o]) - sum);
      largest = std::max(largest, excess(error, 1.01 * steps * 0x1p-24 * magnitude));
    }
  }
  return largest;
}

}  // namespace ttt::test
