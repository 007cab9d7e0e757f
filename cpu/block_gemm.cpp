// SPDX-License-Identifier: Apache-2.0
#include "cpu/block_gemm.h"

#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

#include "cpu/gemm.h"
#define TTT_WITH_VNNI
#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/block_gemm.cpp"
#include <hwy/foreach_target.h>

#include "cpu/panel_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {
namespace {

// A tile of many rows: as many panels as share a row's inputs in registers. A product needs a register of its
// own before it is added, beside those that kMaxSums leaves. With AVX-512 both the sums of a block and those
// of all blocks stay in registers.
constexpr std::size_t kTilePanels = TTT_AVX512 ? 2 : 1;
constexpr std::size_t kTileRows =
    TTT_AVX512 ? 6 : std::clamp<std::size_t>((kMaxSums - 2) / kPanelVectors, 1, 12);
// Up to so many rows read stored weights at once, and where bytes are multiplied, which cost little to take
// apart, up to twice as many in two groups. More rows have their weights widened.
constexpr std::size_t kFewRows = kBytesInQuads ? 8 : at_most(kTileRows, 6);
constexpr std::size_t kGroupedRows = kBytesInQuads ? 2 * kFewRows : 0;
constexpr std::size_t kRowBlock = 128;  // rows of x, 112 KB for 256 inputs, stay in the second-level cache
constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kBlocks = QuantisedInputs::kBlocks;
constexpr std::size_t kPairNumbers = 2 * kPanelOutputs;  // of a panel's pair of inputs

template <class Block>
using WideOf = std::conditional_t<Block::kInQuads, WideQuads<Block::kParts>, WidePairs>;

static_assert(kTilePanels * sizeof(WidePanel) <= kGemmScratch * sizeof(float));

template <int j, std::size_t kRows, std::size_t kVectors, class Block>
HWY_INLINE void add_pair(const QuantisedInputs* x, std::size_t first_input, const Block& w, std::size_t group,
                         Sums (&sums)[kRows][kVectors]) {
  Pairs weights[kVectors];
  TTT_UNROLL
  for (std::size_t v = 0; v < kVectors; ++v) weights[v] = w.template pair<j>(group, v);
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    const auto& pairs = j % 2 == 0 ? x[r].evens : x[r].odds;
    const Pairs value = same_pair(pairs + first_input / 2 + Block::kPairs * group + j / 2 * 2);
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = multiply_add(weights[v], value, sums[r][v]);
  }
}

template <std::size_t kRows, std::size_t kVectors, class Block, int... kIndices>
HWY_INLINE void add_pairs(const QuantisedInputs* x, std::size_t first_input, const Block& w,
                          std::size_t group, Sums (&sums)[kRows][kVectors],
                          std::integer_sequence<int, kIndices...>) {
  (add_pair<kIndices>(x, first_input, w, group, sums), ...);
}

template <std::size_t kRows, std::size_t kVectors, class Block>
HWY_INLINE void sum_pairs(const QuantisedInputs* x, std::size_t b, std::size_t part, const Block& w,
                          Sums (&sums)[kRows][kVectors]) {
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) {
      sums[r][v] = set_sums(Block::start(x[r], Block::kParts * b + part));
    }
  }
  constexpr std::size_t kGroups = weights::kBlockWeights / 2 / Block::kPairs / Block::kParts;
  for (std::size_t group = part * kGroups; group < (part + 1) * kGroups; ++group) {
    add_pairs(x, b * weights::kBlockWeights, w, group, sums,
              std::make_integer_sequence<int, Block::kPairs>());
  }
}

template <int j, std::size_t kRows, std::size_t kVectors, class Block>
HWY_INLINE void add_quad(const QuantisedInputs* x, std::size_t first_input, const Block& w, std::size_t group,
                         QuadSums (&sums)[kRows][kVectors]) {
  Quads weights[kVectors];
  TTT_UNROLL
  for (std::size_t v = 0; v < kVectors; ++v) weights[v] = w.template quad<j>(group, v);
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    const SignedQuads value = same_quad(x[r].values + first_input + 4 * (Block::kQuads * group + j));
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = multiply_add(weights[v], value, sums[r][v]);
  }
}

template <std::size_t kRows, std::size_t kVectors, class Block, int... kIndices>
HWY_INLINE void add_quads(const QuantisedInputs* x, std::size_t first_input, const Block& w,
                          std::size_t group, QuadSums (&sums)[kRows][kVectors],
                          std::integer_sequence<int, kIndices...>) {
  (add_quad<kIndices>(x, first_input, w, group, sums), ...);
}

template <std::size_t kRows, std::size_t kVectors, class Block>
HWY_INLINE void sum_quads(const QuantisedInputs* x, std::size_t b, std::size_t part, const Block& w,
                          Sums (&sums)[kRows][kVectors]) {
  QuadSums quads[kRows][kVectors];
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) quads[r][v] = no_quads();
  }
  constexpr std::size_t kGroups = weights::kBlockWeights / 4 / Block::kQuads / Block::kParts;
  for (std::size_t group = part * kGroups; group < (part + 1) * kGroups; ++group) {
    add_quads(x, b * weights::kBlockWeights, w, group, quads,
              std::make_integer_sequence<int, Block::kQuads>());
  }
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    const std::int32_t* const halves = x[r].sums + 2 * b;
    const Sums start = set_sums(-w.offset() * (Block::kParts == 1 ? halves[0] + halves[1] : halves[part]));
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = sum_of(quads[r][v], start);
  }
}

// The exact sums of products of a part of block `b`: of all its 32 inputs, or of 16.
template <std::size_t kRows, std::size_t kVectors, class Block>
HWY_INLINE void sum_part(const QuantisedInputs* x, std::size_t b, std::size_t part, const Block& w,
                         Sums (&sums)[kRows][kVectors]) {
  if constexpr (Block::kInQuads) {
    sum_quads(x, b, part, w, sums);
  } else {
    sum_pairs(x, b, part, w, sums);
  }
}

// totals += scale of x * scale of w * sum, an exact integer below 2^24.
template <std::size_t kRows, std::size_t kVectors, class Block, class Sum>
HWY_INLINE void add_scaled(const QuantisedInputs* x, std::size_t b, const Block& w,
                           const Sum (&sums)[kRows][kVectors], V (&totals)[kRows][kVectors]) {
  TTT_UNROLL
  for (std::size_t v = 0; v < kVectors; ++v) {
    const V scale = w.scale(v);
    TTT_UNROLL
    for (std::size_t r = 0; r < kRows; ++r) {
      const V product = hn::Mul(to_floats(sums[r][v]), hn::Mul(scale, set(x[r].scales[b])));
      totals[r][v] = hn::Add(totals[r][v], product);
    }
  }
}

// Block `b` of x times that of the weights.
template <std::size_t kRows, std::size_t kVectors, class Block>
HWY_INLINE void add_block(const QuantisedInputs* x, std::size_t b, const Block& w,
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
HWY_INLINE void subtract_minimums(const QuantisedInputs* x, std::size_t num_blocks, const Minimums& minimums,
                                  V (&totals)[kRows][kVectors]) {
  for (std::size_t b = 0; b < num_blocks; ++b) {
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) {
      const V minimum = minimums(b, v);
      TTT_UNROLL
      for (std::size_t r = 0; r < kRows; ++r) {
        totals[r][v] = hn::Sub(totals[r][v], hn::Mul(minimum, set(x[r].scaled_sums[b])));
      }
    }
  }
}

// y = totals, or y += totals where the panel's inputs before these are in it. Outputs that do not exist go
// nowhere.
template <std::size_t kRows, std::size_t kVectors>
HWY_INLINE void store_totals(const V (&totals)[kRows][kVectors], bool first, std::size_t num_outputs,
                             float* y, std::size_t y_stride) {
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) {
      if (v * kLanes >= num_outputs) break;
      const std::size_t count = at_most(num_outputs - v * kLanes, kLanes);
      float* const to = y + r * y_stride + v * kLanes;
      store(first ? totals[r][v] : hn::Add(load(to, count), totals[r][v]), to, count);
    }
  }
}

struct Job {
  const PackedMatrix& w;
  std::size_t begin, end;  // panels
  const GemmRows& x;
  float* y;
  float* scratch;

  std::size_t num_outputs_of(std::size_t panel, std::size_t num_panels = 1) const {
    return at_most(w.num_outputs() - panel * kPanelOutputs, num_panels * kPanelOutputs);
  }
  // The rows' 256 inputs from `first_input` on, and their blocks.
  const QuantisedInputs* inputs(std::size_t first_input) const {
    return x.quantised + first_input / kBlockInputs * x.quantised_stride;
  }
  std::size_t num_blocks(std::size_t first_input) const {
    return at_most(w.num_inputs() - first_input, kBlockInputs) / weights::kBlockWeights;
  }
};

// Pairs of the values.
void split_quads(std::size_t num_inputs, QuantisedInputs& x) {
  const hn::CappedTag<std::int16_t, weights::kBlockWeights / 2> words;
  for (std::size_t i = 0; i < num_inputs / 2; i += hn::MaxLanes(words)) {
#if HWY_TARGET == HWY_SCALAR
    const std::int8_t* const pair = x.values + i / 2 * 4 + i % 2 * 2;
    x.evens[i] = pair[0];
    x.odds[i] = pair[1];
#else
    const auto bytes =
        hn::BitCast(words, hn::LoadU(hn::Repartition<std::int8_t, decltype(words)>(), x.values + 2 * i));
    hn::StoreU(hn::ShiftRight<8>(hn::ShiftLeft<8>(bytes)), words, x.evens + i);
    hn::StoreU(hn::ShiftRight<8>(bytes), words, x.odds + i);
#endif
  }
}

void quantise(const float* x, std::size_t num_inputs, QuantisedInputs& to) {
  const hn::RebindToSigned<D> integers;
  const V rounder = set(12582912.0F);  // 1.5 * 2^23: adding it rounds to an integer, halves to even
  for (std::size_t b = 0; b * weights::kBlockWeights < num_inputs; ++b) {
    const float* const from = x + b * weights::kBlockWeights;
    auto magnitudes = hn::Zero(integers);  // as integers they are in order, with NaN above infinity
    for (std::size_t i = 0; i < weights::kBlockWeights; i += kLanes) {
      const auto bits = hn::BitCast(integers, hn::LoadU(D(), from + i));
      magnitudes = hn::Max(magnitudes, hn::And(bits, hn::Set(integers, 0x7FFFFFFF)));
    }
    const std::int32_t bits = hn::GetLane(hn::MaxOfLanes(integers, magnitudes));
    float largest;
    std::memcpy(&largest, &bits, sizeof(largest));
    const bool is_finite = bits < 0x7F800000;
    const bool is_zero = !is_finite || largest < 1e-30F;
    to.scales[b] = !is_finite ? std::numeric_limits<float>::quiet_NaN() : is_zero ? 0.0F : largest / 127.0F;
    const V factor = set(is_zero ? 0.0F : 127.0F / largest);
    std::int32_t sum = 0;
    for (std::size_t half = 0; half < 2; ++half) {
      auto sums = hn::Zero(integers);
      for (std::size_t i = 16 * half; i < 16 * (half + 1); i += kLanes) {
        const V scaled = is_finite ? hn::Mul(hn::LoadU(D(), from + i), factor) : set(0.0F);
        const auto value = hn::ConvertTo(integers, hn::Sub(hn::Add(scaled, rounder), rounder));
        sums = hn::Add(sums, value);
        const hn::Rebind<std::int8_t, D> bytes;
        hn::StoreU(hn::DemoteTo(bytes, value), bytes, to.values + b * weights::kBlockWeights + i);
      }
      to.sums[2 * b + half] = hn::GetLane(hn::SumOfLanes(integers, sums));
      sum += to.sums[2 * b + half];
    }
    to.scaled_sums[b] = to.scales[b] * static_cast<float>(sum);
  }
  split_quads(num_inputs, to);
}

template <class Block>
const typename Block::Stored* blocks_of(const PackedMatrix& w, std::size_t panel, std::size_t first_input) {
  return reinterpret_cast<const typename Block::Stored*>(w.panel(panel)) + first_input / Block::kInputs;
}

// Of 32 inputs of a panel.
template <class Block>
constexpr std::size_t kStoredBytes = sizeof(typename Block::Stored) * weights::kBlockWeights / Block::kInputs;

// 256 inputs of a panel, from `first` on, as they are stored.
template <class Block>
struct StoredInputs {
  StoredInputs(const Job& job, std::size_t panel, std::size_t first)
      : at(blocks_of<Block>(job.w, panel, first)),
        num_blocks(job.num_blocks(first)),
        is_first(first == 0),
        num_outputs(job.num_outputs_of(panel)) {
    Block::unpack(at, scales);
  }

  const typename Block::Stored* at;
  typename Block::Scales scales;
  std::size_t num_blocks;
  bool is_first;
  std::size_t num_outputs;
};

// Each weight unpacked in registers.
template <class Block, std::size_t kRows>
HWY_INLINE void stored_tile(const QuantisedInputs* x, const StoredInputs<Block>& w, float* y,
                            std::size_t y_stride) {
  V totals[kRows][kPanelVectors];
  set_zero(totals);
  if constexpr (Block::kHasMinimums) {
    subtract_minimums(
        x, w.num_blocks,
        [&](std::size_t b, std::size_t v) { return hn::LoadU(D(), w.scales.minimums[b] + v * kLanes); },
        totals);
  }
  for (std::size_t b = 0; b < w.num_blocks; ++b) add_block(x, b, Block(w.at, w.scales, b), totals);
  store_totals(totals, w.is_first, w.num_outputs, y, y_stride);
}

// fn(x, w, y) for each panel from end to end, then the next. One panel at a time, and nothing fetched ahead:
// the machine sees a single stream coming.
template <class Block, class Fn>
HWY_INLINE void for_stored_inputs(const Job& job, Fn&& fn) {
  for (std::size_t panel = job.begin; panel < job.end; ++panel) {
    for (std::size_t first = 0; first < job.w.num_inputs(); first += kBlockInputs) {
      fn(job.inputs(first), StoredInputs<Block>(job, panel, first), job.y + panel * kPanelOutputs);
    }
  }
}

template <class Block, std::size_t kRows>
void few_rows(const Job& job) {
  const std::size_t y_stride = job.w.num_outputs();
  for_stored_inputs<Block>(job, [&](const QuantisedInputs* x, const StoredInputs<Block>& w, float* y) {
    stored_tile<Block, kRows>(x, w, y, y_stride);
  });
}

template <class Block, std::size_t... kIndices>
constexpr auto stored_tile_table(std::index_sequence<kIndices...>) {
  return std::array{&stored_tile<Block, kIndices + 1>...};
}

// More than kFewRows: in groups of nearly equal height, that meet the weights one after another.
template <class Block>
void grouped_rows(const Job& job) {
  static constexpr auto kTiles = stored_tile_table<Block>(std::make_index_sequence<kFewRows>());
  const std::size_t y_stride = job.w.num_outputs(), num_rows = job.x.num_rows;
  const std::size_t num_groups = (num_rows + kFewRows - 1) / kFewRows;
  for_stored_inputs<Block>(job, [&](const QuantisedInputs* x, const StoredInputs<Block>& w, float* y) {
    for (std::size_t group = 0; group < num_groups; ++group) {
      const std::size_t begin = num_rows * group / num_groups, end = num_rows * (group + 1) / num_groups;
      kTiles[end - begin - 1](x + begin, w, y + begin * y_stride, y_stride);
    }
  });
}

// A group of inputs and the outputs of vector v.
template <class Block, int... kIndices>
HWY_INLINE void widen_pairs(const Block& block, std::size_t group, std::size_t v, std::int16_t* pairs,
                            std::integer_sequence<int, kIndices...>) {
  (store_pairs(block.template wide_pair<kIndices>(group, v), pairs + kIndices * kPairNumbers), ...);
}

template <class Block, int... kIndices>
HWY_INLINE void widen_quads(const Block& block, std::size_t group, std::size_t v, std::uint8_t* quads,
                            std::integer_sequence<int, kIndices...>) {
  (store_quads(block.template quad<kIndices>(group, v), quads + kIndices * 2 * kPairNumbers), ...);
}

// Block `b`, the outputs of vector v.
template <class Block>
HWY_INLINE void widen_block(const Block& block, std::size_t b, std::size_t v, WidePanel& to) {
  if constexpr (Block::kInQuads) {
    constexpr std::size_t kBlockQuads = weights::kBlockWeights / 4;
    for (std::size_t group = 0; group < kBlockQuads / Block::kQuads; ++group) {
      widen_quads(block, group, v, &to.quads[b * kBlockQuads + Block::kQuads * group][v * kLanes][0],
                  std::make_integer_sequence<int, Block::kQuads>());
    }
    if constexpr (Block::kParts == 2) {
      for (std::size_t part = 0; part < 2; ++part) {
        hn::StoreU(block.factor(part, v), D(), to.factors[b][part] + v * kLanes);
      }
    }
  } else {
    constexpr std::size_t kBlockPairs = weights::kBlockWeights / 2;
    for (std::size_t group = 0; group < kBlockPairs / Block::kPairs; ++group) {
      widen_pairs(block, group, v, &to.pairs[b * kBlockPairs + Block::kPairs * group][v * kLanes][0],
                  std::make_integer_sequence<int, Block::kPairs>());
    }
  }
}

template <class Block>
void widen(const typename Block::Stored* from, std::size_t num_blocks, WidePanel& to) {
  typename Block::Scales scales;
  Block::unpack(from, scales);
  to.has_minimums = Block::kHasMinimums;
  if constexpr (Block::kHasMinimums) to.scales = scales;
  if constexpr (Block::kInQuads) to.offset = Block::offset();
  for (std::size_t b = 0; b < num_blocks; ++b) {
    const Block block(from, scales, b);
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      hn::StoreU(block.scale(v), D(), to.scales.scales[b] + v * kLanes);
      widen_block(block, b, v, to);
    }
  }
}

template <class Wide, std::size_t kPanels, std::size_t kRows>
void tile(const QuantisedInputs* x, const WidePanel* w, std::size_t num_blocks, bool first,
          std::size_t num_outputs, float* y, std::size_t y_stride) {
  V totals[kRows][kPanels * kPanelVectors];
  set_zero(totals);
  for (std::size_t r = 0; r < kRows; ++r) __builtin_prefetch(y + r * y_stride, 1);
  if (w->has_minimums) {
    subtract_minimums(
        x, num_blocks,
        [&](std::size_t b, std::size_t v) {
          const WideBlock block{w, b};
          return hn::LoadU(D(), block.panel_of(v).scales.minimums[b] + block.first_output(v));
        },
        totals);
  }
  for (std::size_t b = 0; b < num_blocks; ++b) add_block(x, b, Wide{{w, b}}, totals);
  store_totals(totals, first, num_outputs, y, y_stride);
}

template <class Wide, std::size_t kPanels, std::size_t... kIndices>
constexpr auto tile_table(std::index_sequence<kIndices...>) {
  return std::array{&tile<Wide, kPanels, kIndices + 1>...};
}

// Rows and inputs that stay in the second-level cache while all panels pass.
struct Chunk {
  std::size_t first_row, num_rows;
  std::size_t first_input, end_input;
};

// 256 inputs of the chunk, from `first` on, of kPanels panels. On the way the weights that follow are fetched
// evenly: the same panels' next inputs, or the next panels'.
template <class Block, std::size_t kPanels>
void all_tiles(const Job& job, const Chunk& chunk, std::size_t panel, std::size_t first, WidePanel* w) {
  static constexpr auto kTiles = tile_table<WideOf<Block>, kPanels>(std::make_index_sequence<kTileRows>());
  const std::size_t num_blocks = job.num_blocks(first);
  const bool last = first + kBlockInputs >= chunk.end_input;
  const char* ahead[kPanels];
  for (std::size_t p = 0; p < kPanels; ++p) {
    widen<Block>(blocks_of<Block>(job.w, panel + p, first), num_blocks, w[p]);
    ahead[p] = reinterpret_cast<const char*>(
        last ? blocks_of<Block>(job.w, at_most(panel + kPanels + p, job.end - 1), chunk.first_input)
             : blocks_of<Block>(job.w, panel + p, first + kBlockInputs));
  }
  const std::size_t num_lines = num_blocks * kStoredBytes<Block> / kCacheLine;
  const QuantisedInputs* const x = job.inputs(first) + chunk.first_row;
  const std::size_t y_stride = job.w.num_outputs();
  float* const y = job.y + chunk.first_row * y_stride + panel * kPanelOutputs;
  const std::size_t num_tiles = (chunk.num_rows + kTileRows - 1) / kTileRows;
  std::size_t line = 0;
  for (std::size_t t = 0; t < num_tiles; ++t) {  // of nearly equal height
    for (; line < num_lines * (t + 1) / num_tiles; ++line) {
      for (std::size_t p = 0; p < kPanels; ++p) __builtin_prefetch(ahead[p] + line * kCacheLine);
    }
    const std::size_t begin = chunk.num_rows * t / num_tiles;
    const std::size_t end = chunk.num_rows * (t + 1) / num_tiles;
    kTiles[end - begin - 1](x + begin, w, num_blocks, first == 0, job.num_outputs_of(panel, kPanels),
                            y + begin * y_stride, y_stride);
  }
}

template <class Block, std::size_t kPanels>
void all_inputs(const Job& job, const Chunk& chunk, std::size_t panel, WidePanel* w) {
  for (std::size_t first = chunk.first_input; first < chunk.end_input; first += kBlockInputs) {
    all_tiles<Block, kPanels>(job, chunk, panel, first, w);
  }
}

template <class Block>
void many_rows(const Job& job) {
  auto* const w = ::new (job.scratch) WidePanel[kTilePanels];
  const std::size_t all_rows = job.x.num_rows, num_inputs = job.w.num_inputs();
  const std::size_t num_row_blocks = (all_rows + kRowBlock - 1) / kRowBlock;
  for (std::size_t block = 0; block < num_row_blocks; ++block) {
    const std::size_t first_row = all_rows * block / num_row_blocks;
    const std::size_t num_rows = all_rows * (block + 1) / num_row_blocks - first_row;
    // The fewer rows, the longer a panel is read without a jump.
    const std::size_t step = kRowBlock / num_rows * kBlockInputs;
    for (std::size_t input = 0; input < num_inputs; input += step) {
      const Chunk chunk{first_row, num_rows, input, at_most(input + step, num_inputs)};
      std::size_t panel = job.begin;
      for (; panel + kTilePanels <= job.end; panel += kTilePanels) {
        all_inputs<Block, kTilePanels>(job, chunk, panel, w);
      }
      if constexpr (kTilePanels > 1) {
        for (; panel < job.end; ++panel) all_inputs<Block, 1>(job, chunk, panel, w);
      }
    }
  }
}

template <class Block, std::size_t... kIndices>
constexpr auto few_rows_table(std::index_sequence<kIndices...>) {
  return std::array{&few_rows<Block, kIndices + 1>...};
}

template <class Block>
void run(const Job& job) {
  static constexpr auto kTable = few_rows_table<Block>(std::make_index_sequence<kFewRows>());
  if (job.x.num_rows <= kFewRows) {
    kTable[job.x.num_rows - 1](job);
  } else if (job.x.num_rows <= kGroupedRows) {
    grouped_rows<Block>(job);
  } else {
    many_rows<Block>(job);
  }
}

void block_gemm_panels(const PackedMatrix& w, std::size_t begin, std::size_t end, const GemmRows& x, float* y,
                       float* scratch) {
  const Job job{w, begin, end, x, y, scratch};
  if (x.num_rows == 0) return;
  if (w.dtype() == weights::DType::kQ8_0) {
    run<Q8Block>(job);
  } else if (w.dtype() == weights::DType::kQ4_0) {
    run<Q4Block>(job);
  } else if (w.dtype() == weights::DType::kQ4_K) {
    run<Q4KBlock>(job);
  } else {
    run<Q6KBlock>(job);
  }
}

}  // namespace
}  // namespace ttt::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ttt::cpu {

HWY_EXPORT(quantise);
HWY_EXPORT(block_gemm_panels);

void quantise_inputs(const float* x, std::size_t num_inputs, QuantisedInputs& to) {
  HWY_DYNAMIC_DISPATCH(quantise)(x, num_inputs, to);
}

void block_gemm_panels(const PackedMatrix& w, std::size_t begin, std::size_t end, const GemmRows& x, float* y,
                       float* scratch) {
  HWY_DYNAMIC_DISPATCH(block_gemm_panels)(w, begin, end, x, y, scratch);
}

}  // namespace ttt::cpu
#endif  // HWY_ONCE
