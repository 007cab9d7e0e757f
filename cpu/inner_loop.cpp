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
constexpr std::size_t kWidths = 5;  // 16, 8, 4, 2 and 1
constexpr std::size_t width_of(std::size_t index) { return std::size_t{16} >> index; }
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

// out(r, c) = x(r) . w(c) + plus, or (x(r) . w(c)) * factors(r, c) where there are factors.
struct Dots {
  Block x;
  std::size_t num_rows;
  Block w;
  std::size_t num_columns;
  std::size_t size;
  float plus = 0.0F;
  Block factors = {};
  MutableBlock out = {};
};

// Of a tile of dots: beside each other, so that one vector holds their sums.
constexpr std::size_t kDotColumns = 4;
constexpr std::size_t kDotRows = kMaxSums / kDotColumns >= 6 ? 4 : 2;

#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void sums_of_lanes(const V (&v)[kDotColumns], float* sums) {
  for (std::size_t c = 0; c < kDotColumns; ++c) sums[c] = hn::GetLane(v[c]);
}
#else
// The sum of four lanes that are the sums of each such lane of all blocks of 128 bits.
template <class DV>
HWY_INLINE auto sum_of_blocks(DV, hn::Vec<DV> v) {
  if constexpr (hn::MaxLanes(DV()) == kDotColumns) {
    return v;
  } else {
    const hn::Half<DV> half;
    return sum_of_blocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

// sums[c] = the sum of the lanes of v[c]: lanes {0, 2}, {1, 3} of each block, their sum, then of halves.
HWY_INLINE void sums_of_lanes(const V (&v)[kDotColumns], float* sums) {
  const D d;
  const hn::RepartitionToWide<D> wide;
  const V first = hn::Add(hn::InterleaveLower(d, v[0], v[1]), hn::InterleaveUpper(d, v[0], v[1]));
  const V second = hn::Add(hn::InterleaveLower(d, v[2], v[3]), hn::InterleaveUpper(d, v[2], v[3]));
  const auto a = hn::BitCast(wide, first), b = hn::BitCast(wide, second);
  const V low = hn::BitCast(d, hn::InterleaveLower(wide, a, b));
  const V high = hn::BitCast(d, hn::InterleaveUpper(wide, a, b));
  hn::StoreU(sum_of_blocks(d, hn::Add(low, high)), hn::FixedTag<float, kDotColumns>(), sums);
}
#endif

// kRows rows from `row` on, kColumns <= kDotColumns columns from `column` on.
template <std::size_t kRows, std::size_t kColumns>
HWY_INLINE void dot_tile(const Dots& p, std::size_t row, std::size_t column) {
  const float* const x = p.x.at + row * p.x.stride;
  const float* const w = p.w.at + column * p.w.stride;
  V sums[kRows][kDotColumns];  // those of missing columns stay 0
  set_zero(sums);
  for (std::size_t i = 0; i < p.size; i += kLanes) {
    const std::size_t n = at_most(p.size - i, kLanes);
    V values[kRows];
    TTT_UNROLL
    for (std::size_t r = 0; r < kRows; ++r) values[r] = load(x + r * p.x.stride + i, n);
    TTT_UNROLL
    for (std::size_t c = 0; c < kColumns; ++c) {
      const V weights = load(w + c * p.w.stride + i, n);
      TTT_UNROLL
      for (std::size_t r = 0; r < kRows; ++r) sums[r][c] = hn::MulAdd(values[r], weights, sums[r][c]);
    }
  }
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    float dots[kDotColumns];
    sums_of_lanes(sums[r], dots);
    if (p.factors.at == nullptr) {
      for (float& dot : dots) dot += p.plus;
    } else {
      float factors[kDotColumns] = {};
      std::memcpy(factors, p.factors.at + (row + r) * p.factors.stride + column, kColumns * sizeof(float));
      for (std::size_t c = 0; c < kDotColumns; ++c) dots[c] *= factors[c];
    }
    std::memcpy(p.out.at + (row + r) * p.out.stride + column, dots, kColumns * sizeof(float));
  }
}

template <std::size_t kColumns>
void dot_rows(const Dots& p, std::size_t row, std::size_t column) {
  for (; row + kDotRows <= p.num_rows; row += kDotRows) dot_tile<kDotRows, kColumns>(p, row, column);
  for (; row < p.num_rows; ++row) dot_tile<1, kColumns>(p, row, column);
}

// Few columns at a time, all rows from first_row(column) on: w passes once.
template <class FirstRow>
HWY_INLINE void dots(const Dots& p, const FirstRow& first_row) {
  std::size_t column = 0;
  for (; column + kDotColumns <= p.num_columns; column += kDotColumns) {
    dot_rows<kDotColumns>(p, first_row(column), column);
  }
  for (; column < p.num_columns; ++column) dot_rows<1>(p, first_row(column), column);
}

void score_open_rows(Block x, std::size_t num_rows, std::size_t phase, Block keys, std::size_t size,
                     MutableBlock scores) {
  // Rows that see none of a few columns are left out. What one gets beyond its own slot nobody reads.
  dots({.x = x,
        .num_rows = num_rows,
        .w = keys,
        .num_columns = phase + num_rows,
        .size = size,
        .plus = 1.0F,
        .out = scores},
       [phase](std::size_t column) { return column > phase ? column - phase : 0; });
}

void product_transposed(Block x, std::size_t num_rows, const float* W, std::size_t in, std::size_t out_size,
                        Block factors, MutableBlock out) {
  dots({.x = x,
        .num_rows = num_rows,
        .w = {W, in},
        .num_columns = out_size,
        .size = in,
        .factors = factors,
        .out = out},
       [](std::size_t) { return std::size_t{0}; });
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

namespace {

constexpr std::size_t kLineFloats = 16;  // of a cache line

void fetch_floats(const float* at, std::size_t count) {
  for (std::size_t i = 0; i < count; i += kLineFloats) __builtin_prefetch(at + i, 0, 2);
}

}  // namespace

void fetch_open_rows(const InnerLoopHead& head, std::int64_t position) {
  for (std::size_t row = 0; row < phase_of(position, head.mini_batch_size); ++row) {
    const std::size_t at = row * head.open_row_stride;
    fetch_floats(head.key + at, head.head_size);
    fetch_floats(head.gradient_1 + at, head.inner_size);
    if (head.hidden == nullptr) continue;
    fetch_floats(head.hidden + at, head.inner_size);
    fetch_floats(head.gradient_2 + at, head.head_size);
  }
}

std::size_t inner_loop_scratch_floats(std::size_t head_size, std::size_t inner_size,
                                      std::size_t mini_batch_size) {
  // One row: zhat. Of every row of a run: z, two rows of the inner layer, scores.
  return head_size + kInnerLoopRun * (head_size + 2 * inner_size + mini_batch_size);
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
                        Block factors, MutableBlock out) {
  HWY_DYNAMIC_DISPATCH(product_transposed)(x, num_rows, W, in, out_size, factors, out);
}

}  // namespace ttt::cpu
#endif  // HWY_ONCE
