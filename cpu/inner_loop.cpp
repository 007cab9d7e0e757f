// SPDX-License-Identifier: Apache-2.0
#include "cpu/inner_loop.h"

#include <array>
#include <utility>

#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/inner_loop.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {
namespace {

constexpr std::size_t kTileRows = 6;

// Vectors beside each other in a tile: powers of two, as the widths of inner models are.
constexpr std::size_t kWidths = 4;  // 8, 4, 2 and 1
constexpr std::size_t width_of(std::size_t index) { return std::size_t{8} >> index; }
constexpr bool fits(std::size_t rows, std::size_t vectors) {
  return vectors == 1 || vectors * rows <= kMaxSums;
}

// out(r, c) = sum + bias(c) where there is a bias, else out(r, c) - eta(r) * sum, with
// sum = sum over i < count(r) of x(r, i) * w(i, c) in order.
struct Product {
  Rows x;
  std::size_t num_rows;
  const float* w;
  std::size_t w_stride;
  std::size_t num_columns;
  std::size_t count;        // of the first row
  bool triangular = false;  // each row has one more than the row before it
  const float* bias = nullptr;
  const float* eta = nullptr;
  std::size_t eta_step = 0;
  float* out;
  std::size_t out_stride;
};

// Rows [row, row + kRows), columns from `column` on, `width` <= kLanes in each vector.
template <std::size_t kRows, std::size_t kVectors, class Columns>
HWY_INLINE void tile(const Product& p, std::size_t row, std::size_t column, std::size_t width,
                     const Columns& w) {
  const Rows x{p.x.at + row * p.x.row_stride, p.x.row_stride, p.x.step};
  const std::size_t count = p.count + (p.triangular ? row : 0);
  V sums[kRows][kVectors];
  set_zero(sums);
  accumulate(x, w, 0, count, sums);
  if (p.triangular) {
    TTT_UNROLL
    for (std::size_t more = 0; more + 1 < kRows; ++more) {
      TTT_UNROLL
      for (std::size_t r = more + 1; r < kRows; ++r) {
        const V value = set(x.at[r * x.row_stride + (count + more) * x.step]);
        TTT_UNROLL
        for (std::size_t v = 0; v < kVectors; ++v) {
          sums[r][v] = hn::MulAdd(value, w.load(count + more, v), sums[r][v]);
        }
      }
    }
  }
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t at = column + v * kLanes;
      float* const out = p.out + (row + r) * p.out_stride + at;
      if (p.bias != nullptr) {
        store(hn::Add(sums[r][v], load(p.bias + at, width)), out, width);
      } else {
        store(hn::NegMulAdd(set(p.eta[(row + r) * p.eta_step]), sums[r][v], load(out, width)), out, width);
      }
    }
  }
}

using Tile = void (*)(const Product&, std::size_t row, std::size_t column);

template <std::size_t kRows, std::size_t kVectors>
void wide_tile(const Product& p, std::size_t row, std::size_t column) {
  tile<kRows, kVectors>(p, row, column, kLanes, FloatColumns{p.w + column, p.w_stride});
}

template <std::size_t kRows>
void last_tile(const Product& p, std::size_t row, std::size_t column) {
  const std::size_t width = p.num_columns - column;
  tile<kRows, 1>(p, row, column, width, LastColumns{p.w + column, p.w_stride, width});
}

// For so many rows: tiles from the widest that the registers hold to one vector, then what is left of one.
struct Tiles {
  std::array<Tile, kWidths> wide;  // null where it does not fit
  Tile last;
};

template <std::size_t kRows, std::size_t kIndex>
constexpr Tile wide_tile_of() {
  if constexpr (fits(kRows, width_of(kIndex))) {
    return &wide_tile<kRows, width_of(kIndex)>;
  } else {
    return nullptr;
  }
}

template <std::size_t kRows, std::size_t... kIndices>
constexpr Tiles tiles_of(std::index_sequence<kIndices...>) {
  return {{wide_tile_of<kRows, kIndices>()...}, &last_tile<kRows>};
}

template <std::size_t... kIndices>
constexpr auto tiles_table(std::index_sequence<kIndices...>) {
  return std::array{tiles_of<kIndices + 1>(std::make_index_sequence<kWidths>())...};
}

void run(const Product& p) {
  static constexpr auto kTiles = tiles_table(std::make_index_sequence<kTileRows>());
  const std::size_t num_tiles = (p.num_rows + kTileRows - 1) / kTileRows;
  for (std::size_t t = 0; t < num_tiles; ++t) {  // of nearly equal height
    const std::size_t begin = p.num_rows * t / num_tiles;
    const Tiles& tiles = kTiles[p.num_rows * (t + 1) / num_tiles - begin - 1];
    std::size_t column = 0;
    for (std::size_t i = 0; i < kWidths; ++i) {
      if (tiles.wide[i] == nullptr) continue;
      const std::size_t width = width_of(i) * kLanes;
      for (; column + width <= p.num_columns; column += width) tiles.wide[i](p, begin, column);
    }
    if (column < p.num_columns) tiles.last(p, begin, column);
  }
}

void affine(Block x, std::size_t num_rows, std::size_t in, const float* W, const float* b,
            std::size_t out_size, MutableBlock out) {
  run({.x = {x.at, x.stride, 1},
       .num_rows = num_rows,
       .w = W,
       .w_stride = out_size,
       .num_columns = out_size,
       .count = in,
       .bias = b,
       .out = out.at,
       .out_stride = out.stride});
}

void subtract_open_rows(Block scores, std::size_t num_rows, std::size_t phase, Block gradients,
                        std::size_t out_size, const float* eta, MutableBlock out) {
  run({.x = {scores.at, scores.stride, 1},
       .num_rows = num_rows,
       .w = gradients.at,
       .w_stride = gradients.stride,
       .num_columns = out_size,
       .count = phase + 1,
       .triangular = true,
       .eta = eta,
       .eta_step = 1,
       .out = out.at,
       .out_stride = out.stride});
}

void commit_rows(Block keys, std::size_t in, Block gradients, std::size_t out_size, std::size_t count,
                 float eta, float* W, float* b) {
  Product product{.x = {keys.at, 1, keys.stride},
                  .num_rows = in,
                  .w = gradients.at,
                  .w_stride = gradients.stride,
                  .num_columns = out_size,
                  .count = count,
                  .eta = &eta,
                  .out = W,
                  .out_stride = out_size};
  run(product);
  constexpr float kOne = 1.0F;
  product.x = {&kOne, 0, 0};
  product.num_rows = 1;
  product.out = b;
  run(product);
}

// out(r, c) = x(r) . w(c) + plus for a tile: one partial sum for each, over vectors in order.
template <std::size_t kRows, std::size_t kColumns>
HWY_INLINE void dot_tile(Block x, Block w, std::size_t size, float plus, MutableBlock out) {
  V sums[kRows][kColumns];
  set_zero(sums);
  for (std::size_t i = 0; i < size; i += kLanes) {
    const std::size_t n = at_most(size - i, kLanes);
    V values[kRows];
    TTT_UNROLL
    for (std::size_t r = 0; r < kRows; ++r) values[r] = load(x.at + r * x.stride + i, n);
    TTT_UNROLL
    for (std::size_t c = 0; c < kColumns; ++c) {
      const V weights = load(w.at + c * w.stride + i, n);
      TTT_UNROLL
      for (std::size_t r = 0; r < kRows; ++r) sums[r][c] = hn::MulAdd(values[r], weights, sums[r][c]);
    }
  }
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    TTT_UNROLL
    for (std::size_t c = 0; c < kColumns; ++c) out.at[r * out.stride + c] = sum_of_lanes(sums[r][c]) + plus;
  }
}

template <std::size_t kRows>
void dot_rows(Block x, Block w, std::size_t num_columns, std::size_t size, float plus, MutableBlock out) {
  std::size_t c = 0;
  for (; c + 4 <= num_columns; c += 4) {
    dot_tile<kRows, 4>(x, {w.at + c * w.stride, w.stride}, size, plus, {out.at + c, out.stride});
  }
  for (; c < num_columns; ++c) {
    dot_tile<kRows, 1>(x, {w.at + c * w.stride, w.stride}, size, plus, {out.at + c, out.stride});
  }
}

void score_open_rows(Block x, std::size_t num_rows, std::size_t phase, Block keys, std::size_t size,
                     MutableBlock scores) {
  std::size_t r = 0;
  for (; r + 2 <= num_rows; r += 2) {  // the first of both rows gets a score too many, which nobody reads
    dot_rows<2>({x.at + r * x.stride, x.stride}, keys, phase + r + 2, size, 1.0F,
                {scores.at + r * scores.stride, scores.stride});
  }
  if (r < num_rows) {
    dot_rows<1>({x.at + r * x.stride, x.stride}, keys, phase + r + 1, size, 1.0F,
                {scores.at + r * scores.stride, scores.stride});
  }
}

void product_transposed(Block x, std::size_t num_rows, const float* W, std::size_t in, std::size_t out_size,
                        MutableBlock out) {
  std::size_t r = 0;
  for (; r + 2 <= num_rows; r += 2) {
    dot_rows<2>({x.at + r * x.stride, x.stride}, {W, in}, out_size, in, 0.0F,
                {out.at + r * out.stride, out.stride});
  }
  if (r < num_rows) {
    dot_rows<1>({x.at + r * x.stride, x.stride}, {W, in}, out_size, in, 0.0F,
                {out.at + r * out.stride, out.stride});
  }
}

}  // namespace
}  // namespace ttt::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ttt::cpu {

HWY_EXPORT(affine);
HWY_EXPORT(score_open_rows);
HWY_EXPORT(subtract_open_rows);
HWY_EXPORT(commit_rows);
HWY_EXPORT(product_transposed);

std::size_t inner_loop_scratch_floats(std::size_t head_size, std::size_t inner_size,
                                      std::size_t mini_batch_size) {
  // One row: target, zhat. Of every row of a run: z, two rows of the inner layer, scores.
  return 2 * head_size + kInnerLoopRun * (head_size + 2 * inner_size + mini_batch_size);
}

void affine(Block x, std::size_t num_rows, std::size_t in, const float* W, const float* b,
            std::size_t out_size, MutableBlock out) {
  HWY_DYNAMIC_DISPATCH(affine)(x, num_rows, in, W, b, out_size, out);
}

void score_open_rows(Block x, std::size_t num_rows, std::size_t phase, Block keys, std::size_t size,
                     MutableBlock scores) {
  HWY_DYNAMIC_DISPATCH(score_open_rows)(x, num_rows, phase, keys, size, scores);
}

void subtract_open_rows(Block scores, std::size_t num_rows, std::size_t phase, Block gradients,
                        std::size_t out_size, const float* eta, MutableBlock out) {
  HWY_DYNAMIC_DISPATCH(subtract_open_rows)(scores, num_rows, phase, gradients, out_size, eta, out);
}

void commit_rows(Block keys, std::size_t in, Block gradients, std::size_t out_size, std::size_t count,
                 float eta, float* W, float* b) {
  HWY_DYNAMIC_DISPATCH(commit_rows)(keys, in, gradients, out_size, count, eta, W, b);
}

void product_transposed(Block x, std::size_t num_rows, const float* W, std::size_t in, std::size_t out_size,
                        MutableBlock out) {
  HWY_DYNAMIC_DISPATCH(product_transposed)(x, num_rows, W, in, out_size, out);
}

}  // namespace ttt::cpu
#endif  // HWY_ONCE
