// SPDX-License-Identifier: Apache-2.0
#include "cpu/gemm.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "cpu/block_gemm.h"
#include "cpu/simd_targets.h"
#include "weights/block_types.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gemm.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {
namespace {

constexpr std::size_t kPanelVectors = kPanelOutputs / kLanes;
constexpr std::size_t kMaxPanels = 4;  // read side by side for few rows: as many streams from memory
// With many rows a panel's weights meet kTileRows rows at a time.
constexpr std::size_t kManyPanels = HWY_TARGET == HWY_AVX3 ? 2 : 1;
constexpr std::size_t kTileRows = std::max<std::size_t>(1, kMaxSums / (kManyPanels * kPanelVectors));
constexpr std::size_t kFewRows = at_most(kTileRows, 6);
constexpr std::size_t kCacheLine = 64;

struct F32 {
  using Stored = float;
  static HWY_INLINE V load(const float* from) { return hn::LoadU(D(), from); }
};

struct BF16 {
  using Stored = std::uint16_t;
  static HWY_INLINE V load(const std::uint16_t* from) {
    const hn::Rebind<std::uint32_t, D> words;
    const auto bits = hn::PromoteTo(words, hn::LoadU(hn::Rebind<std::uint16_t, D>(), from));
    return hn::BitCast(D(), hn::ShiftLeft<16>(bits));
  }
};

struct F16 {
  using Stored = std::uint16_t;
  static HWY_INLINE V load(const std::uint16_t* from) { return load_f16(from); }
};

// Panels `panel_stride` elements apart, from one input on.
template <class Type>
struct PanelColumns {
  const typename Type::Stored* at;
  std::size_t panel_stride;
  HWY_INLINE const typename Type::Stored* at_input(std::size_t i, std::size_t v) const {
    return at + (v / kPanelVectors) * panel_stride + i * kPanelOutputs + (v % kPanelVectors) * kLanes;
  }
  HWY_INLINE V load(std::size_t i, std::size_t v) const { return Type::load(at_input(i, v)); }
};

// A block of weights is too short for the machine to see it coming, so the next one is fetched a few lines at
// a time while this one is computed with.
struct Ahead {
  const char* at = nullptr;
  std::size_t num_lines = 0;
};

// accumulate() over all inputs, with `ahead` fetched evenly on the way: at once it would fill the queue of
// misses, and the loads behind it would wait. Four inputs to a turn: beside 20 instructions of its own, one
// input's turn needs 3 more for the loop. Together, 8 rows rose from 67 to 90 GFLOP/s, 32 rows from 108 to
// 130.
template <std::size_t kRows, std::size_t kVectors, class Columns>
HWY_INLINE void accumulate(const Rows& x, const Columns& w, std::size_t num_inputs, const Ahead& ahead,
                           V (&sums)[kRows][kVectors]) {
  constexpr std::size_t kStep = 16;
  const std::size_t lines_per_step = (ahead.num_lines * kStep + num_inputs - 1) / num_inputs;
  std::size_t line = 0;
  std::size_t i = 0;
  for (; i + kStep <= num_inputs; i += kStep) {
    for (const std::size_t end = at_most(line + lines_per_step, ahead.num_lines); line < end; ++line) {
      __builtin_prefetch(ahead.at + line * kCacheLine);
    }
    for (std::size_t k = i; k < i + kStep; k += 4) {
      accumulate_one(x, w, k, sums);
      accumulate_one(x, w, k + 1, sums);
      accumulate_one(x, w, k + 2, sums);
      accumulate_one(x, w, k + 3, sums);
    }
  }
  accumulate(x, w, i, num_inputs, sums);
}

// accumulate() over all inputs where one tile meets each weight, so that reading them takes about as long as
// computing: every panel is fetched kStreamAhead bytes before it is multiplied. 8 rows of BF16 rose from 51
// to 74 % of the peak with it and without a copy in fp32 (`Ahead`, widen()), F32 from 46 to 54 % where memory
// was slow and to 82 % where it was fast.
constexpr std::size_t kStreamAhead = 4096;

template <class Type, std::size_t kRows, std::size_t kVectors>
HWY_INLINE void accumulate_stream(const Rows& x, const PanelColumns<Type>& w, std::size_t num_inputs,
                                  V (&sums)[kRows][kVectors]) {
  constexpr std::size_t kLineInputs = kCacheLine / (kPanelOutputs * sizeof(typename Type::Stored));
  static_assert(kLineInputs >= 1 && 4 % kLineInputs == 0);
  std::size_t i = 0;
  for (; i + 4 <= num_inputs; i += 4) {
    TTT_UNROLL
    for (std::size_t k = 0; k < 4; ++k) {
      TTT_UNROLL
      for (std::size_t v = 0; k % kLineInputs == 0 && v < kVectors; v += kPanelVectors) {
        fetch(reinterpret_cast<const char*>(w.at_input(i + k, v)) + kStreamAhead);
      }
      accumulate_one(x, w, i + k, sums);
    }
  }
  accumulate(x, w, i, num_inputs, sums);
}

// `first`: y is set, else added to.
template <std::size_t kRows, std::size_t kVectors>
HWY_INLINE void put_sums(const V (&sums)[kRows][kVectors], float* y, std::size_t y_stride, bool first) {
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    TTT_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) {
      float* const to = y + r * y_stride + v * kLanes;
      hn::StoreU(first ? sums[r][v] : hn::Add(hn::LoadU(D(), to), sums[r][v]), D(), to);
    }
  }
}

// One block of inputs for kRows rows and kPanels panels.
template <class Type, std::size_t kRows, std::size_t kPanels>
HWY_INLINE void block_product(const Rows& x, const PanelColumns<Type>& w, std::size_t num_inputs, float* y,
                              std::size_t y_stride, bool first, const Ahead& ahead = {}) {
  V sums[kRows][kPanels * kPanelVectors];
  set_zero(sums);
  accumulate(x, w, num_inputs, ahead, sums);
  put_sums(sums, y, y_stride, first);
}

// The same where only `num_outputs` of the panels' outputs exist: what does not, goes nowhere.
template <class Type, std::size_t kRows, std::size_t kPanels>
HWY_INLINE void block_product(const Rows& x, const PanelColumns<Type>& w, std::size_t num_inputs, float* y,
                              std::size_t y_stride, bool first, std::size_t num_outputs,
                              const Ahead& ahead = {}) {
  constexpr std::size_t kWidth = kPanels * kPanelOutputs;
  const bool whole = num_outputs == kWidth;
  HWY_ALIGN float tile[kRows * kWidth];
  block_product<Type, kRows, kPanels>(x, w, num_inputs, whole ? y : tile, whole ? y_stride : kWidth,
                                      whole ? first : true, ahead);
  if (whole) return;
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t o = 0; o < num_outputs; ++o) {
      float& to = y[r * y_stride + o];
      const float value = tile[r * kWidth + o];
      to = first ? value : to + value;
    }
  }
}

struct Job {
  const PackedMatrix& w;
  std::size_t begin, end;  // panels
  const float* x;
  std::size_t num_rows;
  float* y;
  float* scratch;
};

template <class Type>
const typename Type::Stored* panel_of(const PackedMatrix& w, std::size_t panel) {
  return reinterpret_cast<const typename Type::Stored*>(w.panel(panel));
}

// Of a panel and those after it, from one input on.
template <class Type>
PanelColumns<Type> columns_of(const PackedMatrix& w, std::size_t panel, std::size_t first_input) {
  return {panel_of<Type>(w, panel) + first_input * kPanelOutputs, w.num_inputs() * kPanelOutputs};
}

// All blocks of inputs for kPanels panels; where it is one, it may be the last, with fewer outputs.
template <class Type, std::size_t kRows, std::size_t kPanels>
HWY_INLINE void all_blocks(const Job& job, std::size_t panel) {
  const std::size_t num_inputs = job.w.num_inputs();
  const std::size_t y_stride = job.w.num_outputs();
  const std::size_t num_outputs = at_most(y_stride - panel * kPanelOutputs, kPanelOutputs);
  for (std::size_t first = 0; first < num_inputs; first += kBlockInputs) {
    const Rows x{job.x + first, num_inputs, 1};
    const PanelColumns<Type> w = columns_of<Type>(job.w, panel, first);
    const std::size_t count = at_most(num_inputs - first, kBlockInputs);
    float* const y = job.y + panel * kPanelOutputs;
    if constexpr (kPanels > 1) {
      block_product<Type, kRows, kPanels>(x, w, count, y, y_stride, first == 0);
    } else {
      block_product<Type, kRows, 1>(x, w, count, y, y_stride, first == 0, num_outputs);
    }
  }
}

// Up to kFewRows rows: every weight is read once, and widened in registers.
template <class Type, std::size_t kRows>
void few_rows(const Job& job) {
  constexpr std::size_t kPanels = std::clamp<std::size_t>(kMaxSums / (kRows * kPanelVectors), 1, kMaxPanels);
  const std::size_t num_whole = at_most(job.end, job.w.num_outputs() / kPanelOutputs);
  std::size_t panel = job.begin;
  if constexpr (kPanels > 1) {
    for (; panel + kPanels <= num_whole; panel += kPanels) all_blocks<Type, kRows, kPanels>(job, panel);
  }
  for (; panel < job.end; ++panel) all_blocks<Type, kRows, 1>(job, panel);
}

// The lines of y to which a tile's sums will go.
template <std::size_t kRows>
HWY_INLINE void fetch_sums(const float* y, std::size_t y_stride) {
  TTT_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) __builtin_prefetch(y + r * y_stride, 1);
}

// A tile of a block of x that was copied together, rows kBlockInputs apart.
template <std::size_t kRows>
void tile_product(const float* x, const PanelColumns<F32>& w, std::size_t num_inputs, float* y,
                  std::size_t y_stride, bool first, std::size_t num_outputs, const Ahead& ahead) {
  const Rows rows{x, kBlockInputs, 1};
  fetch_sums<kRows>(y, y_stride);
  if (kManyPanels == 1 || num_outputs > kPanelOutputs) {
    block_product<F32, kRows, kManyPanels>(rows, w, num_inputs, y, y_stride, first, num_outputs, ahead);
  } else {  // an odd panel is left
    block_product<F32, kRows, 1>(rows, w, num_inputs, y, y_stride, first, num_outputs, ahead);
  }
}

// The same where this tile is all there is: weights are widened in registers.
template <class Type, std::size_t kRows>
void only_tile_product(const float* x, const PanelColumns<Type>& w, std::size_t num_inputs, float* y,
                       std::size_t y_stride, bool first, std::size_t num_outputs) {
  const Rows rows{x, kBlockInputs, 1};
  fetch_sums<kRows>(y, y_stride);
  if (num_outputs == kManyPanels * kPanelOutputs) {
    V sums[kRows][kManyPanels * kPanelVectors];
    set_zero(sums);
    accumulate_stream(rows, w, num_inputs, sums);
    put_sums(sums, y, y_stride, first);
  } else if (num_outputs > kPanelOutputs) {
    block_product<Type, kRows, kManyPanels>(rows, w, num_inputs, y, y_stride, first, num_outputs);
  } else {
    block_product<Type, kRows, 1>(rows, w, num_inputs, y, y_stride, first, num_outputs);
  }
}

template <class Type, std::size_t... kIndices>
constexpr auto few_rows_table(std::index_sequence<kIndices...>) {
  return std::array{&few_rows<Type, kIndices + 1>...};
}

template <class Type, std::size_t... kIndices>
constexpr auto only_tile_table(std::index_sequence<kIndices...>) {
  return std::array{&only_tile_product<Type, kFewRows + kIndices + 1>...};
}

template <std::size_t... kIndices>
constexpr auto tile_table(std::index_sequence<kIndices...>) {
  return std::array{&tile_product<kIndices + 1>...};
}

// A block of weights as fp32: where it lies, or widened into `scratch`.
template <class Type>
PanelColumns<F32> widen(const PackedMatrix& w, std::size_t panel, std::size_t num_panels, std::size_t first,
                        std::size_t count, float* scratch) {
  const PanelColumns<Type> stored = columns_of<Type>(w, panel, first);
  if constexpr (std::is_same_v<Type, F32>) {
    return stored;
  } else {
    constexpr std::size_t kBlock = kBlockInputs * kPanelOutputs;
    for (std::size_t p = 0; p < num_panels; ++p) {
      for (std::size_t i = 0; i < count * kPanelOutputs; i += kLanes) {
        hn::StoreU(Type::load(stored.at + p * stored.panel_stride + i), D(), scratch + p * kBlock + i);
      }
    }
    return {scratch, kBlock};
  }
}

// Rows and inputs whose x was copied together, into [blocks of inputs][num_rows][256].
struct Chunk {
  const float* x;
  std::size_t first_row, num_rows;
  std::size_t first_input, num_inputs;
};

// What follows the block that begins at `first` of the chunk: the same panels' next block, or the next
// panels' first block of the chunk.
template <class Type>
Ahead next_block(const Job& job, const Chunk& chunk, std::size_t panel, std::size_t first) {
  const bool last_of_panel = first + kBlockInputs >= chunk.num_inputs;
  const std::size_t next_panel = last_of_panel ? at_most(panel + kManyPanels, job.end - 1) : panel;
  const std::size_t next_input = chunk.first_input + (last_of_panel ? 0 : first + kBlockInputs);
  const std::size_t count = at_most(job.w.num_inputs() - next_input, kBlockInputs);
  return {reinterpret_cast<const char*>(panel_of<Type>(job.w, next_panel) + next_input * kPanelOutputs),
          count * kPanelOutputs * sizeof(typename Type::Stored) / kCacheLine};
}

// One block of inputs, from `first` of the chunk on, for the panels that share a tile.
template <class Type>
HWY_INLINE void all_tiles(const Job& job, const Chunk& chunk, std::size_t panel, std::size_t first,
                          float* scratch) {
  static constexpr auto kTiles = tile_table(std::make_index_sequence<kTileRows>());
  const std::size_t y_stride = job.w.num_outputs();
  const std::size_t count = at_most(chunk.num_inputs - first, kBlockInputs);
  const std::size_t num_panels = at_most(job.end - panel, kManyPanels);
  const std::size_t num_outputs = at_most(y_stride - panel * kPanelOutputs, num_panels * kPanelOutputs);
  const std::size_t first_input = chunk.first_input + first;
  const float* const x = chunk.x + first * chunk.num_rows;
  float* const y = job.y + chunk.first_row * y_stride + panel * kPanelOutputs;
  if constexpr (kTileRows > kFewRows) {
    static constexpr auto kOnlyTiles =
        only_tile_table<Type>(std::make_index_sequence<kTileRows - kFewRows>());
    if (chunk.num_rows <= kTileRows) {
      const PanelColumns<Type> stored = columns_of<Type>(job.w, panel, first_input);
      kOnlyTiles[chunk.num_rows - kFewRows - 1](x, stored, count, y, y_stride, first_input == 0, num_outputs);
      return;
    }
  }
  const PanelColumns<F32> w = widen<Type>(job.w, panel, num_panels, first_input, count, scratch);
  const std::size_t num_tiles = (chunk.num_rows + kTileRows - 1) / kTileRows;
  const Ahead ahead = next_block<Type>(job, chunk, panel, first);
  std::size_t line = 0;
  for (std::size_t tile = 0; tile < num_tiles; ++tile) {  // of nearly equal height
    const std::size_t begin = chunk.num_rows * tile / num_tiles;
    const std::size_t end = chunk.num_rows * (tile + 1) / num_tiles;
    const std::size_t next_line = ahead.num_lines * (tile + 1) / num_tiles;
    kTiles[end - begin - 1](x + begin * kBlockInputs, w, count, y + begin * y_stride, y_stride,
                            first_input == 0, num_outputs, {ahead.at + line * kCacheLine, next_line - line});
    line = next_line;
  }
}

// Rows in their place lie a power of two apart and would meet in few sets of the cache.
void copy_rows(const Job& job, const Chunk& chunk, float* to) {
  for (std::size_t first = 0; first < chunk.num_inputs; first += kBlockInputs) {
    const std::size_t count = at_most(chunk.num_inputs - first, kBlockInputs);
    for (std::size_t r = 0; r < chunk.num_rows; ++r, to += kBlockInputs) {
      const std::size_t row = chunk.first_row + r;
      std::memcpy(to, job.x + row * job.w.num_inputs() + chunk.first_input + first, count * sizeof(float));
    }
  }
}

template <class Type>
void many_rows(const Job& job) {
  float* const x_block = job.scratch;
  float* const w_block = x_block + kRowBlock * kBlockInputs;
  const std::size_t num_inputs = job.w.num_inputs();
  const std::size_t num_blocks = (job.num_rows + kRowBlock - 1) / kRowBlock;
  for (std::size_t block = 0; block < num_blocks; ++block) {
    const std::size_t first_row = job.num_rows * block / num_blocks;
    const std::size_t num_rows = job.num_rows * (block + 1) / num_blocks - first_row;
    // The fewer rows, the more blocks of inputs fit, and the longer a panel is read without a jump.
    const std::size_t step = kRowBlock / num_rows * kBlockInputs;
    for (std::size_t first_input = 0; first_input < num_inputs; first_input += step) {
      const Chunk chunk{x_block, first_row, num_rows, first_input, at_most(num_inputs - first_input, step)};
      copy_rows(job, chunk, x_block);
      for (std::size_t panel = job.begin; panel < job.end; panel += kManyPanels) {
        for (std::size_t first = 0; first < chunk.num_inputs; first += kBlockInputs) {
          all_tiles<Type>(job, chunk, panel, first, w_block);
        }
      }
    }
  }
}

template <class Type>
void run(const Job& job) {
  static constexpr auto kTable = few_rows_table<Type>(std::make_index_sequence<kFewRows>());
  if (job.num_rows <= kFewRows) {
    kTable[job.num_rows - 1](job);
  } else {
    many_rows<Type>(job);
  }
}

void gemm_panels(const PackedMatrix& w, std::size_t begin, std::size_t end, const GemmRows& x, float* y,
                 float* scratch) {
  const Job job{w, begin, end, x.x, x.num_rows, y, scratch};
  if (x.num_rows == 0) return;
  switch (w.dtype()) {
    case weights::DType::kF16:
      return run<F16>(job);
    case weights::DType::kBF16:
      return run<BF16>(job);
    default:
      return run<F32>(job);
  }
}

}  // namespace
}  // namespace ttt::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ttt::cpu {
namespace {

constexpr std::size_t kQuantiseWork = 4;  // operations of an input, for the decision to share the work
constexpr std::size_t kMinPiece = 4;      // panels: as many as one row reads side by side
constexpr std::size_t kPieces = 8;        // of a thread's part

}  // namespace

HWY_EXPORT(gemm_panels);

void gemm_panels(const PackedMatrix& w, std::size_t begin, std::size_t end, const GemmRows& x, float* y,
                 float* scratch) {
  if (weights::is_block_type(w.dtype())) {
    block_gemm_panels(w, begin, end, x, y, scratch);
  } else {
    HWY_DYNAMIC_DISPATCH(gemm_panels)(w, begin, end, x, y, scratch);
  }
}

void GemmInputs::quantise(std::size_t row, std::size_t block) const {
  const std::size_t first = block * kBlockInputs, to = block * num_rows_ + row;
  quantise_inputs(x_ + row * num_inputs_ + first, std::min(num_inputs_ - first, kBlockInputs),
                  quantised_->inputs()[to], quantised_->pairs()[to]);
}

void GemmInputs::quantise_all(ThreadPool& pool) const {
  pool.for_ranges(num_rows_ * num_blocks(), kQuantiseWork * kBlockInputs,
                  [&](std::size_t begin, std::size_t end, std::size_t) {
                    for (std::size_t i = begin; i < end; ++i) {  // row by row, as x lies
                      quantise(i / num_blocks(), i % num_blocks());
                    }
                  });
}

bool wants_quantised(std::span<const Product> products) {
  return std::ranges::any_of(products, [](const Product& p) { return weights::is_block_type(p.w->dtype()); });
}

std::size_t num_row_groups(std::size_t num_rows, std::size_t num_threads) {
  return std::clamp<std::size_t>((num_rows + kRowBlock - 1) / kRowBlock, 1, num_threads);
}

void gemm(ThreadPool& pool, std::span<const Product> products, const GemmInputs& x, float* scratch) {
  const std::size_t num_rows = x.num_rows();
  const std::size_t groups = num_row_groups(num_rows, pool.num_threads());
  std::array<ThreadPool::Pieces, ThreadPool::kMaxLists> pieces{};
  std::size_t work = 0;
  for (std::size_t i = 0; i < products.size(); ++i) {
    const PackedMatrix& w = *products[i].w;
    const std::size_t part = groups * w.num_panels() / pool.num_threads();
    // Products of F32 and 16-bit weights copy x for many rows, once for each piece.
    const bool in_pieces = weights::is_block_type(w.dtype()) || num_rows == 1;
    pieces[i] = {groups * w.num_panels(),
                 in_pieces ? std::max(kMinPiece, part / kPieces / kMinPiece * kMinPiece) : part + 1};
    work += w.num_panels() * kPanelOutputs * num_rows * w.num_inputs();
  }
  pool.for_pieces(std::span(pieces).first(products.size()), work,
                  [&](std::size_t i, std::size_t begin, std::size_t end, std::size_t thread) {
                    const auto [w, y] = products[i];
                    while (begin < end) {
                      const std::size_t group = begin / w->num_panels(), first = group * w->num_panels();
                      const std::size_t last = std::min(end - first, w->num_panels());
                      const std::size_t row = num_rows * group / groups;
                      gemm_panels(*w, begin - first, last, x.rows(row, num_rows * (group + 1) / groups),
                                  y + row * w->num_outputs(), scratch + thread * kGemmScratch);
                      begin = first + last;
                    }
                  });
}

}  // namespace ttt::cpu
#endif  // HWY_ONCE
