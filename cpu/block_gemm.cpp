// SPDX-License-Identifier: Apache-2.0
#include "cpu/block_gemm.h"

#include <algorithm>
#include <array>
#include <new>
#include <type_traits>
#include <utility>

#include "cpu/gemm.h"
#define TTT_WITH_VNNI
#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/block_gemm.cpp"
#include <hwy/foreach_target.h>

#include "cpu/block_products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {
namespace {

// A tile of many rows: as many panels as share a row's inputs in registers. A product needs a register of its
// own before it is added, beside those that kMaxSums leaves. With AVX-512 both the sums of a block and those
// of all blocks stay in registers.
constexpr std::size_t kTilePanels = TTT_AVX512 ? 2 : 1;
constexpr std::size_t kTileRows =
    TTT_AVX512 ? 6 : std::clamp<std::size_t>((kMaxSums - 2) / kPanelVectors, 1, 12);
// Rows that read stored weights one panel after another. Up to so many leave it to the machine to see the
// weights coming. With more it also sees the rows' inputs, which no longer stay in the first-level cache
// beside the weights, and loses sight: then weights are fetched a little more than a page ahead.
constexpr std::size_t kRowsUnfetched = 4;
constexpr std::size_t kFetchAhead = 4352;
// So many inputs of kRowBlock rows stay in the second-level cache.
constexpr std::size_t kChunkInputs = kBytesInQuads ? 2816 : 768;
// Where bytes are multiplied, multiplications are what a tile waits for, and products of scales do without
// one. From so many rows on their table is worth its making.
constexpr bool kHasScaleProducts = kBytesInQuads;
constexpr std::size_t kRowsWithProducts = 24;
constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kPairNumbers = 2 * kPanelOutputs;  // of a panel's pair of inputs

// Where bytes are multiplied, Q8_0 is read as it is stored.
template <class Block>
constexpr bool kReadsStored = kBytesInQuads ? std::is_same_v<Block, Q8Block> : false;

// Up to so many rows read each panel from end to end. More have their weights widened, where they need it.
template <class Block>
constexpr std::size_t kFewRows = kReadsStored<Block> ? 4
                                 : kBytesInQuads     ? 8
                                                     : at_most(kTileRows, 6);

template <class Block>
using WideOf = std::conditional_t<kReadsStored<Block>, StoredQuads<kTilePanels>,
                                  std::conditional_t<Block::kInQuads, WideQuads<Block>, WidePairs>>;

// Of many rows: the weights of a tile's panels, and the rows' sums. These lie side by side here, because rows
// of y lie far apart, and where it is a power of two they meet in few sets of the cache: reading and writing
// them there for every 256 inputs took 14 % of a tile's time.
struct Scratch {
  WidePanel panels[kTilePanels];
  ScaleProducts products[kTilePanels];
  alignas(kCacheLine) float sums[kRowBlock][kTilePanels * kPanelOutputs];
};

static_assert(sizeof(Scratch) <= kGemmScratch * sizeof(float));

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
  QuantisedRows inputs(std::size_t first_input) const {
    return x.quantised + first_input / kBlockInputs * x.quantised_stride;
  }
  std::size_t num_blocks(std::size_t first_input) const {
    return at_most(w.num_inputs() - first_input, kBlockInputs) / weights::kBlockWeights;
  }
};

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
HWY_INLINE void stored_tile(const QuantisedRows& x, const StoredInputs<Block>& w, float* y,
                            std::size_t y_stride) {
  V totals[kRows][kPanelVectors];
  begin_totals(x, totals);
  if constexpr (Block::kHasMinimums) {
    subtract_minimums(
        x, w.num_blocks,
        [&](std::size_t b, std::size_t v) { return hn::LoadU(D(), w.scales.minimums[b] + v * kLanes); },
        totals);
  }
  for (std::size_t b = 0; b < w.num_blocks; ++b) {
    if constexpr (kRows > kRowsUnfetched) {
      const char* const ahead = reinterpret_cast<const char*>(w.at) + b * kStoredBytes<Block> + kFetchAhead;
      for (std::size_t i = 0; i < kStoredBytes<Block>; i += kCacheLine) fetch(ahead + i);
    }
    add_block(x, b, Block(w.at, w.scales, b), totals);
  }
  store_totals(totals, w.is_first, w.num_outputs, y, y_stride);
}

// Each panel from end to end, then the next.
template <class Block, std::size_t kRows>
void few_rows(const Job& job) {
  for (std::size_t panel = job.begin; panel < job.end; ++panel) {
    for (std::size_t first = 0; first < job.w.num_inputs(); first += kBlockInputs) {
      stored_tile<Block, kRows>(job.inputs(first), StoredInputs<Block>(job, panel, first),
                                job.y + panel * kPanelOutputs, job.w.num_outputs());
    }
  }
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
  constexpr std::uint8_t kMore = WideQuads<Block>::kOffset - Block::kOffset;
  (store_quads(add(block.template quad<kIndices>(group, v), kMore), quads + kIndices * 2 * kPairNumbers),
   ...);
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
  if constexpr (Block::kHasMinimums) to.scales = scales;
  for (std::size_t b = 0; b < num_blocks; ++b) {
    const Block block(from, scales, b);
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      hn::StoreU(block.scale(v), D(), to.scales.scales[b] + v * kLanes);
      widen_block(block, b, v, to);
    }
  }
}

// What tiles read: the panels widened, or as they are stored. Where one is missing the first stands in for
// it.
template <class Block, std::size_t kPanels>
typename WideOf<Block>::Source widen_panels(const typename Block::Stored* const (&stored)[kPanels],
                                            std::size_t num_blocks, WidePanel* to) {
  if constexpr (kReadsStored<Block>) {
    typename WideOf<Block>::Source source;
    for (std::size_t p = 0; p < kTilePanels; ++p) source.panels[p] = stored[p < kPanels ? p : 0];
    return source;
  } else {
    for (std::size_t p = 0; p < kPanels; ++p) widen<Block>(stored[p], num_blocks, to[p]);
    return to;
  }
}

// Weights that are fetched while a tile is computed, some lines with each block: where they are many, at once
// they would fill the queue of misses, and the loads behind them would wait.
template <std::size_t kPanels>
struct Ahead {
  HWY_INLINE void fetch_lines(std::size_t count) {
    for (std::size_t line = 0; line < count; ++line) {
      for (const char*& panel : at) fetch(std::exchange(panel, panel + kCacheLine));
    }
  }

  const char* at[kPanels];
  std::size_t num_lines;  // of each panel
};

// The rows' sums of 256 inputs, for kPanels of the kTilePanels that a row of `sums` has room for.
template <class Wide, std::size_t kPanels, std::size_t kRows>
void tile(const QuantisedRows& x, const typename Wide::Source& w, std::size_t num_blocks, bool first,
          float* sums, const Ahead<kPanels>& to_fetch) {
  constexpr std::size_t kWidth = kTilePanels * kPanelOutputs;
  Ahead<kPanels> ahead = to_fetch;
  const std::size_t lines_per_block = (ahead.num_lines + num_blocks - 1) / num_blocks;
  if constexpr (Wide::kFetchesFirst) ahead.fetch_lines(ahead.num_lines);
  V totals[kRows][kPanels * kPanelVectors];
  begin_totals(x, totals);
  if constexpr (Wide::kHasMinimums) {
    subtract_minimums(
        x, num_blocks,
        [&](std::size_t b, std::size_t v) {
          return Wide{{w, b}}.minimum(v);
        },
        totals);
  }
  for (std::size_t b = 0; b < num_blocks; ++b) {
    if constexpr (!Wide::kFetchesFirst) ahead.fetch_lines(lines_per_block);
    add_block(x, b, Wide{{w, b}}, totals);
  }
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    TTT_UNROLL
    for (std::size_t v = 0; v < kPanels * kPanelVectors; ++v) {
      float* const to = sums + r * kWidth + v * kLanes;
      hn::Store(first ? totals[r][v] : hn::Add(hn::Load(D(), to), totals[r][v]), D(), to);
    }
  }
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

// The lines of y that a tile's sums will go to.
template <std::size_t kPanels>
HWY_INLINE void fetch_rows(const float* y, std::size_t num_rows, std::size_t y_stride) {
  for (std::size_t r = 0; r < num_rows; ++r) {
    for (std::size_t p = 0; p < kPanels; ++p) __builtin_prefetch(y + r * y_stride + p * kPanelOutputs, 1);
  }
}

constexpr std::size_t round_up(std::size_t count, std::size_t step) {
  return (count + step - 1) / step * step;
}

// Returns whether tiles can use the products.
template <class Wide, std::size_t kPanels>
bool multiply_scales(const typename Wide::Source& w, std::size_t num_blocks, ScaleProducts* to) {
  bool usable = true;
  for (std::size_t b = 0; b < num_blocks; ++b) {
    for (std::size_t v = 0; v < kPanels * kPanelVectors; ++v) {
      usable &= to[v / kPanelVectors].set_block(b, v % kPanelVectors * kLanes, Wide{{w, b}}.scale(v));
    }
  }
  return usable;
}

// All rows of the chunk, in tiles of nearly equal height. On the way `ahead` is fetched evenly.
template <class Wide, std::size_t kPanels>
void all_tiles(const Job& job, const Chunk& chunk, std::size_t panel, std::size_t first,
               const typename Wide::Source& w, Ahead<kPanels> ahead, Scratch& scratch) {
  static constexpr auto kTiles = tile_table<Wide, kPanels>(std::make_index_sequence<kTileRows>());
  const std::size_t num_blocks = job.num_blocks(first);
  const bool last = first + kBlockInputs >= chunk.end_input;
  const QuantisedRows x = job.inputs(first) + chunk.first_row;
  const std::size_t y_stride = job.w.num_outputs();
  const float* const y = job.y + chunk.first_row * y_stride + panel * kPanelOutputs;
  const std::size_t num_tiles = (chunk.num_rows + kTileRows - 1) / kTileRows;
  const std::size_t height = chunk.num_rows / num_tiles, num_higher = chunk.num_rows % num_tiles;
  std::size_t lines_left = ahead.num_lines;
  ahead.num_lines = (lines_left + num_tiles - 1) / num_tiles;
  for (std::size_t t = 0, row = 0; t < num_tiles; ++t) {
    ahead.num_lines = at_most(ahead.num_lines, lines_left);
    const std::size_t num_rows = t < num_higher ? height + 1 : height;
    if (last) fetch_rows<kPanels>(y + row * y_stride, num_rows, y_stride);
    kTiles[num_rows - 1](x + row, w, num_blocks, first == 0, scratch.sums[row], ahead);
    for (const char*& at : ahead.at) at += ahead.num_lines * kCacheLine;
    lines_left -= ahead.num_lines;
    row += num_rows;
  }
}

// 256 inputs of the chunk, from `first` on, of kPanels panels. Fetched are the weights that follow: the same
// panels' next inputs, or the next panels'.
template <class Block, std::size_t kPanels>
void panel_inputs(const Job& job, const Chunk& chunk, std::size_t panel, std::size_t first,
                  Scratch& scratch) {
  using Wide = WideOf<Block>;
  const std::size_t num_blocks = job.num_blocks(first);
  const bool last = first + kBlockInputs >= chunk.end_input;
  const typename Block::Stored* stored[kPanels];
  Ahead<kPanels> ahead;
  ahead.num_lines = (num_blocks * kStoredBytes<Block> + kCacheLine - 1) / kCacheLine;
  for (std::size_t p = 0; p < kPanels; ++p) {
    stored[p] = blocks_of<Block>(job.w, panel + p, first);
    ahead.at[p] = reinterpret_cast<const char*>(
        last ? blocks_of<Block>(job.w, at_most(panel + kPanels + p, job.end - 1), chunk.first_input)
             : blocks_of<Block>(job.w, panel + p, first + kBlockInputs));
  }
  const typename Wide::Source w = widen_panels<Block, kPanels>(stored, num_blocks, scratch.panels);
  if constexpr (kHasScaleProducts) {
    if (chunk.num_rows >= kRowsWithProducts &&
        multiply_scales<Wide, kPanels>(w, num_blocks, scratch.products)) {
      all_tiles<WithScaleProducts<Wide>, kPanels>(job, chunk, panel, first, {w, scratch.products}, ahead,
                                                  scratch);
      return;
    }
  }
  all_tiles<Wide, kPanels>(job, chunk, panel, first, w, ahead, scratch);
}

template <std::size_t kPanels>
HWY_INLINE void copy_outputs(const float* from, std::size_t count, float* to) {
  if (count < kPanels * kPanelOutputs) {
    std::memcpy(to, from, count * sizeof(float));
    return;
  }
  TTT_UNROLL
  for (std::size_t i = 0; i < kPanels * kPanelOutputs; i += kLanes)
    hn::StoreU(hn::LoadU(D(), from + i), D(), to + i);
}

// y from and to the place where its sums are added up.
template <std::size_t kPanels>
void move_sums(const Job& job, const Chunk& chunk, std::size_t panel, bool from_y, Scratch& scratch) {
  const std::size_t count = job.num_outputs_of(panel, kPanels), stride = job.w.num_outputs();
  float* const y = job.y + chunk.first_row * stride + panel * kPanelOutputs;
  for (std::size_t row = 0; row < chunk.num_rows; ++row) {
    float* const sums = scratch.sums[row];
    copy_outputs<kPanels>(from_y ? y + row * stride : sums, count, from_y ? sums : y + row * stride);
  }
}

template <class Block, std::size_t kPanels>
void all_inputs(const Job& job, const Chunk& chunk, std::size_t panel, Scratch& scratch) {
  if (chunk.first_input > 0) move_sums<kPanels>(job, chunk, panel, true, scratch);
  for (std::size_t first = chunk.first_input; first < chunk.end_input; first += kBlockInputs) {
    panel_inputs<Block, kPanels>(job, chunk, panel, first, scratch);
  }
  move_sums<kPanels>(job, chunk, panel, false, scratch);
}

template <class Block>
void many_rows(const Job& job) {
  auto& scratch = *::new (job.scratch) Scratch;
  const std::size_t all_rows = job.x.num_rows, num_inputs = job.w.num_inputs();
  const std::size_t num_row_blocks = (all_rows + kRowBlock - 1) / kRowBlock;
  for (std::size_t block = 0; block < num_row_blocks; ++block) {
    const std::size_t first_row = all_rows * block / num_row_blocks;
    const std::size_t num_rows = all_rows * (block + 1) / num_row_blocks - first_row;
    // The fewer rows, the longer a panel is read without a jump. Chunks of nearly equal length.
    const std::size_t most = kRowBlock / num_rows * kChunkInputs;
    const std::size_t num_chunks = (num_inputs + most - 1) / most;
    const std::size_t step = round_up(num_inputs, num_chunks * kBlockInputs) / num_chunks;
    for (std::size_t input = 0; input < num_inputs; input += step) {
      const Chunk chunk{first_row, num_rows, input, at_most(input + step, num_inputs)};
      std::size_t panel = job.begin;
      for (; panel + kTilePanels <= job.end; panel += kTilePanels) {
        all_inputs<Block, kTilePanels>(job, chunk, panel, scratch);
      }
      if constexpr (kTilePanels > 1) {
        for (; panel < job.end; ++panel) all_inputs<Block, 1>(job, chunk, panel, scratch);
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
  static constexpr auto kTable = few_rows_table<Block>(std::make_index_sequence<kFewRows<Block>>());
  if (job.x.num_rows <= kFewRows<Block>) {
    kTable[job.x.num_rows - 1](job);
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

HWY_EXPORT(block_gemm_panels);

void block_gemm_panels(const PackedMatrix& w, std::size_t begin, std::size_t end, const GemmRows& x, float* y,
                       float* scratch) {
  HWY_DYNAMIC_DISPATCH(block_gemm_panels)(w, begin, end, x, y, scratch);
}

}  // namespace ttt::cpu
#endif  // HWY_ONCE
