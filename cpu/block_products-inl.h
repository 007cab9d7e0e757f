// SPDX-License-Identifier: Apache-2.0
// What a tile of quantised rows and panels does with one block of 32 inputs: the exact sums of its products,
// in pairs or in quads (pairs-inl.h), and their way into the rows' totals, in one order. `Block` is a reader
// of panel_blocks-inl.h; sums and totals are [rows][vectors of outputs]. Compiled once per target.
#if defined(TTT_CPU_BLOCK_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TTT_CPU_BLOCK_PRODUCTS_INL_H_
#undef TTT_CPU_BLOCK_PRODUCTS_INL_H_
#else
#define TTT_CPU_BLOCK_PRODUCTS_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <utility>

#include "cpu/panel_blocks-inl.h"
#include "cpu/quantised_inputs.h"

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {

template <int j, std::size_t kRows, std::size_t kVectors, class Block>
HWY_INLINE void add_pair(const QuantisedRows& x, std::size_t first_input, const Block& w, std::size_t group,
                         Sums (&sums)[kRows][kVectors]) {
  Pairs weights[kVectors];
  TTT_UNROLL
  for (std::size_t v = 0; v < kVectors; ++v) weights[v] = w.template pair<j>(group, v);
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    const auto& pairs = j % 2 == 0 ? x.pairs[r].evens : x.pairs[r].odds;
    const Pairs value = same_pair(pairs + first_input / 2 + Block::kPairs * group + j / 2 * 2);
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = multiply_add(weights[v], value, sums[r][v]);
  }
}

template <std::size_t kRows, std::size_t kVectors, class Block, int... kIndices>
HWY_INLINE void add_pairs(const QuantisedRows& x, std::size_t first_input, const Block& w, std::size_t group,
                          Sums (&sums)[kRows][kVectors], std::integer_sequence<int, kIndices...>) {
  (add_pair<kIndices>(x, first_input, w, group, sums), ...);
}

template <std::size_t kRows, std::size_t kVectors, class Block>
HWY_INLINE void sum_pairs(const QuantisedRows& x, std::size_t b, std::size_t part, const Block& w,
                          Sums (&sums)[kRows][kVectors]) {
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) {
      sums[r][v] = set_sums(Block::start(x.inputs[r], Block::kParts * b + part));
    }
  }
  constexpr std::size_t kGroups = weights::kBlockWeights / 2 / Block::kPairs / Block::kParts;
  for (std::size_t group = part * kGroups; group < (part + 1) * kGroups; ++group) {
    // One row is as fast as weights come, and they come only if the machine sees their lines one after
    // another: g++ loads the last line of a block of Q8_0 first (AVX-512, 103 to 70 % of a plain read).
    if constexpr (kRows == 1) __asm__ volatile("" ::: "memory");
    add_pairs(x, b * weights::kBlockWeights, w, group, sums,
              std::make_integer_sequence<int, Block::kPairs>());
  }
}

template <int j, std::size_t kRows, std::size_t kVectors, class Block>
HWY_INLINE void add_quad(const QuantisedRows& x, std::size_t first_input, const Block& w, std::size_t group,
                         QuadSums (&sums)[kRows][kVectors]) {
  Quads weights[kVectors];
  TTT_UNROLL
  for (std::size_t v = 0; v < kVectors; ++v) weights[v] = w.template quad<j>(group, v);
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    const SignedQuads value = same_quad(x.inputs[r].values + first_input + 4 * (Block::kQuads * group + j));
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = multiply_add(weights[v], value, sums[r][v]);
  }
}

template <std::size_t kRows, std::size_t kVectors, class Block, int... kIndices>
HWY_INLINE void add_quads(const QuantisedRows& x, std::size_t first_input, const Block& w, std::size_t group,
                          QuadSums (&sums)[kRows][kVectors], std::integer_sequence<int, kIndices...>) {
  (add_quad<kIndices>(x, first_input, w, group, sums), ...);
}

template <std::size_t kRows, std::size_t kVectors, class Block>
HWY_INLINE void sum_quads(const QuantisedRows& x, std::size_t b, std::size_t part, const Block& w,
                          Sums (&sums)[kRows][kVectors]) {
  const auto offset = [&](std::size_t r) {
    return Block::kParts == 1 ? x.inputs[r].offsets[b] : x.inputs[r].half_offsets[2 * b + part];
  };
  QuadSums quads[kRows][kVectors];
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) quads[r][v] = begin_quads<Block::kOffset>(offset(r));
  }
  constexpr std::size_t kGroups = weights::kBlockWeights / 4 / Block::kQuads / Block::kParts;
  for (std::size_t group = part * kGroups; group < (part + 1) * kGroups; ++group) {
    add_quads(x, b * weights::kBlockWeights, w, group, quads,
              std::make_integer_sequence<int, Block::kQuads>());
  }
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = end_quads<Block::kOffset>(quads[r][v], offset(r));
  }
}

// The exact sums of products of a part of block `b`: of all its 32 inputs, or of 16.
template <std::size_t kRows, std::size_t kVectors, class Block>
HWY_INLINE void sum_part(const QuantisedRows& x, std::size_t b, std::size_t part, const Block& w,
                         Sums (&sums)[kRows][kVectors]) {
  if constexpr (Block::kInQuads) {
    sum_quads(x, b, part, w, sums);
  } else {
    sum_pairs(x, b, part, w, sums);
  }
}

// totals += scale of x * scale of w * sum, an exact integer below 2^24.
template <std::size_t kRows, std::size_t kVectors, class Block, class Sum>
HWY_INLINE void add_scaled(const QuantisedRows& x, std::size_t b, const Block& w,
                           const Sum (&sums)[kRows][kVectors], V (&totals)[kRows][kVectors]) {
  TTT_UNROLL
  for (std::size_t v = 0; v < kVectors; ++v) {
    const auto scale = w.scale(v);
    TTT_UNROLL
    for (std::size_t r = 0; r < kRows; ++r) {
      const V product = hn::Mul(to_floats(sums[r][v]), times(scale, x.inputs[r].scales[b]));
      totals[r][v] = hn::Add(totals[r][v], product);
    }
  }
}

// Where sums over 256 inputs begin: 0, or NaN for rows with one.
template <std::size_t kRows, std::size_t kVectors>
HWY_INLINE void begin_totals(const QuantisedRows& x, V (&totals)[kRows][kVectors]) {
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    TTT_UNROLL
    for (V& total : totals[r]) total = set(x.inputs[r].start);
  }
}

// Block `b` of x times that of the weights.
template <std::size_t kRows, std::size_t kVectors, class Block>
HWY_INLINE void add_block(const QuantisedRows& x, std::size_t b, const Block& w,
                          V (&totals)[kRows][kVectors]) {
  Sums sums[kRows][kVectors];
  sum_part(x, b, 0, w, sums);
  if constexpr (Block::kParts == 1) {
    add_scaled(x, b, w, sums, totals);
  } else {
    Sums others[kRows][kVectors];
    sum_part(x, b, 1, w, others);
    V both[kRows][kVectors];
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) {
      const V factor = w.factor(0, v), other_factor = w.factor(1, v);
      TTT_UNROLL
      for (std::size_t r = 0; r < kRows; ++r) {
        both[r][v] =
            hn::Add(hn::Mul(factor, to_floats(sums[r][v])), hn::Mul(other_factor, to_floats(others[r][v])));
      }
    }
    add_scaled(x, b, w, both, totals);
  }
}

// totals -= minimums * sums of x, for all blocks of 256 inputs. minimums(b, v): of block b, vector v.
template <std::size_t kRows, std::size_t kVectors, class Minimums>
HWY_INLINE void subtract_minimums(const QuantisedRows& x, std::size_t num_blocks, const Minimums& minimums,
                                  V (&totals)[kRows][kVectors]) {
  for (std::size_t b = 0; b < num_blocks; ++b) {
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) {
      const V minimum = minimums(b, v);
      TTT_UNROLL
      for (std::size_t r = 0; r < kRows; ++r) {
        totals[r][v] = hn::Sub(totals[r][v], hn::Mul(minimum, set(x.inputs[r].scaled_sums[b])));
      }
    }
  }
}

}  // namespace ttt::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // TTT_CPU_BLOCK_PRODUCTS_INL_H_
