// SPDX-License-Identifier: Apache-2.0
// See product_few.h. A block multiplies one tile after another, 16 outputs of all rows: each of its eight
// warps streams a slice of their weights through a ring of its own, and waits for no other warp before the
// sums are added up. Weights are the A operand (16 outputs), rows of x the B operand (8 rows): a tensor core
// then multiplies nothing in vain for 8 rows. How weights come into a stage of the ring is up to WeightRows.
#pragma once

#include "cuda/kernels/activations.cuh"
#include "cuda/kernels/block_weights.cuh"
#include "cuda/kernels/operand_rows.cuh"
#include "cuda/kernels/product_few.h"
#include "cuda/kernels/product_tiles.cuh"
#include "cuda/launch.cuh"

namespace ttt::cuda {

constexpr int kFewOutputs = 16;  // rows of weights of a tile

// A tile: which rows of weights a block multiplies. With `up`, half of them are of the other matrix.
struct FewRowsTile {
  FewRowsMatrix matrix;
  int first_output;

  TTT_DEVICE FewRowsTile(const ProductFewParams& p, int tile) {
    int i = 0;
    while (tile >= p.matrices[i].end_tile) ++i;
    matrix = p.matrices[i];
    first_output = (tile - (i > 0 ? p.matrices[i - 1].end_tile : 0)) * outputs();
  }

  TTT_DEVICE int outputs() const { return matrix.up != nullptr ? kFewOutputs / 2 : kFewOutputs; }
  // Rows behind the last are those of the last: they are multiplied, as they cannot disturb others, and not
  // stored.
  TTT_DEVICE int inside(int row) const { return row < matrix.n ? row : matrix.n - 1; }
};

struct LaneRow {
  const std::uint16_t* begin;
  int is_there;  // 0: zeros come, and `begin` is an address of which nothing is read
};

// One chunk of each of kCount rows, 8 rows apart in a stage, which a lane brings at every step: what it needs
// for that is worked out once, because a step has few instructions to spare.
template <int kCount>
class LaneCopies {
 public:
  // Chunk lane % 4 of row lane / 4 of each eight. row_of(i): the lane's LaneRow of the i-th eight.
  template <typename RowOf>
  TTT_DEVICE LaneCopies(int k, int lane, RowOf row_of)
      : columns_left_(kept(k - lane % 4 * 8)), offset_(kept(ProductRows::chunk_offset(lane / 4, lane % 4))) {
    TTT_UNROLL for (int i = 0; i < kCount; ++i) {
      rows_[i] = row_of(i);
      rows_[i].begin += lane % 4 * 8;
      rows_[i].is_there = kept(rows_[i].is_there);
    }
  }

  TTT_DEVICE void begin(int step, unsigned char* tile) const {
    const int first = step * ProductOrder::kDepth;
    const bool inside = first < columns_left_;
    TTT_UNROLL for (int i = 0; i < kCount; ++i) {
      copy_async_16(tile + offset_ + i * 8 * ProductRows::kBytes, rows_[i].begin + first,
                    inside && rows_[i].is_there != 0);
    }
  }

 private:
  LaneRow rows_[kCount];
  int columns_left_;  // from the lane's chunk of the first step on
  int offset_;
};

// Weights in 16 bits: copied as they are.
class HalfRows {
 public:
  TTT_DEVICE HalfRows(const FewRowsTile& tile, int k, int lane)
      : copies_(k, lane, [&](int i) {
          const bool is_up = i == 1 && tile.matrix.up != nullptr;
          const int row = tile.inside(tile.first_output + lane / 4 + (is_up ? 0 : 8 * i));
          return LaneRow{static_cast<const std::uint16_t*>(is_up ? tile.matrix.up : tile.matrix.W) +
                             static_cast<std::size_t>(row) * k,
                         1};
        }) {}

  // Begins to bring a step's weights into a stage (`first`: of the slice), and ends it when they are
  // multiplied.
  TTT_DEVICE void begin(int step, bool, unsigned char* stage) const { copies_.begin(step, stage); }
  TTT_DEVICE void finish(int, unsigned char*) const {}

 private:
  LaneCopies<2> copies_;
};

// Weights of a block type: brought into the L2 cache ahead of time, and become fp16 in the stage when they
// are multiplied. (In registers they would wait for the latest of all reads under way: there are six
// scoreboards.) Each lane has half of a row, which one read brings: reads of many rows at once are what costs
// most.
template <typename Weights>
class QuantisedRows {
 public:
  TTT_DEVICE QuantisedRows(const FewRowsTile& tile, int k, int lane)
      : weights_(is_up(tile, lane) ? tile.matrix.up : tile.matrix.W,
                 static_cast<std::size_t>(tile.matrix.n) * k),
        row_(lane / 2),
        half_(lane % 2) {
    begin_ = static_cast<std::size_t>(tile.inside(tile.first_output + row_ % tile.outputs())) * k;
  }

  TTT_DEVICE void begin(int step, bool first, unsigned char*) const {
    if (half_ == 0) weights_.prefetch(begin_ + step * ProductOrder::kDepth, first);
  }

  TTT_DEVICE void finish(int step, unsigned char* stage) const {
    store_half_row<Weights>(stage, row_, half_,
                            weights_.sixteen(begin_ + step * ProductOrder::kDepth, half_));
  }

 private:
  static TTT_DEVICE bool is_up(const FewRowsTile& tile, int lane) {
    return tile.matrix.up != nullptr && lane / 2 >= kFewOutputs / 2;
  }
  Weights weights_;
  int row_, half_;
  std::size_t begin_;  // of the row's weights
};

// kRowTiles: of 8 rows of x.
template <bool kFp16, int kRowTiles, typename WeightRows>
class ProductFew {
 public:
  static constexpr int kWarps = ProductOrder::kSlices, kThreads = kWarps * kWarp;
  static constexpr int kOutputs = kFewOutputs, kRows = 8 * kRowTiles;
  // Two blocks of a multiprocessor have up to 96 KiB of weights under way, and one fits where there are 99
  // KiB.
  static constexpr int kStages = kRowTiles == 1 ? 7 : (kRowTiles == 2 ? 5 : 3);
  // A stage: 16 rows of weights, then kRows rows of x.
  static constexpr int kInputOffset = kOutputs * ProductRows::kBytes;
  static constexpr int kStageBytes = (kOutputs + kRows) * ProductRows::kBytes;
  static constexpr int kRingBytes = kStages * kStageBytes;
  static constexpr int kSumsOffset = kWarps * kRingBytes, kSumsBytes = kRows * kOutputs * 4;  // of a warp
  static constexpr int kSharedBytes = kSumsOffset + kWarps * kSumsBytes;

  TTT_DEVICE ProductFew(const ProductFewParams& params, unsigned char* shared)
      : p_(params),
        lane_(threadIdx.x % kWarp),
        warp_(threadIdx.x / kWarp),
        ring_(shared + kept(warp_ * kRingBytes)),
        sums_of_warps_(reinterpret_cast<float*>(shared + kSumsOffset)),
        num_tiles_(params.matrices[params.num_matrices - 1].end_tile),
        inputs_(params.k, lane_, [this](int i) {
          const int row = lane_ / 4 + 8 * i;
          const bool is_there = row < p_.rows;
          return LaneRow{p_.x + static_cast<std::size_t>(is_there ? row : 0) * p_.k, is_there ? 1 : 0};
        }) {
    const int steps = ProductOrder::steps(p_.k), slice = ProductOrder::steps_of_slice(p_.k);
    begin_ = warp_ * slice < steps ? warp_ * slice : steps;
    end_ = begin_ + slice < steps ? begin_ + slice : steps;
  }

  // The ring goes on over the end of a tile: while its sums are added up, the next one's weights come.
  TTT_DEVICE void run() {
    Loader loader(*this);
    TTT_UNROLL for (int i = 0; i < kStages - 1; ++i) loader.begin_weights(stage_at(i));
    let_next_start();
    wait_for_previous();  // for x, and for what is added to
    Loader(*this).begin_inputs();
    int stage = 0;
    TTT_NO_UNROLL for (int i = blockIdx.x; i < num_tiles_; i += gridDim.x) {
      const FewRowsTile tile(p_, i);
      const WeightRows weights(tile, p_.k, lane_);
      clear();
      TTT_NO_UNROLL for (int step = begin_; step < end_; ++step) {
        wait_copies<kStages - 2>();
        weights.finish(step, stage_at(stage));
        sync_warp();  // the stage is there, and that of the step before is no longer read
        loader.begin(stage_at(stage == 0 ? kStages - 1 : stage - 1));
        multiply(stage_at(stage));
        stage = stage + 1 < kStages ? stage + 1 : 0;
      }
      store_sums();
      sync_block();
      store(tile);
      sync_block();  // the sums have been read
    }
  }

 private:
  // Brings one step after the other, of all tiles of the block.
  class Loader {
   public:
    TTT_DEVICE explicit Loader(const ProductFew& product)
        : product_(product),
          tile_(blockIdx.x),
          step_(product.begin_),
          weights_(FewRowsTile(product.p_, tile_), product.p_.k, product.lane_) {
      if (product.begin_ == product.end_) tile_ = product.num_tiles_;
    }

    TTT_DEVICE void begin_weights(unsigned char* stage) {
      if (tile_ >= product_.num_tiles_) return;
      weights_.begin(step_, step_ == product_.begin_, stage);
      advance();
    }
    // The inputs of as many steps as a ring holds but one, each a group of copies.
    TTT_DEVICE void begin_inputs() {
      TTT_UNROLL for (int i = 0; i < kStages - 1; ++i) {
        if (tile_ < product_.num_tiles_) {
          product_.inputs_.begin(step_, product_.stage_at(i) + kInputOffset);
          advance();
        }
        commit_copies();
      }
    }
    TTT_DEVICE void begin(unsigned char* stage) {
      if (tile_ < product_.num_tiles_) {
        weights_.begin(step_, step_ == product_.begin_, stage);
        product_.inputs_.begin(step_, stage + kInputOffset);
        advance();
      }
      commit_copies();
    }

   private:
    TTT_DEVICE void advance() {
      if (++step_ < product_.end_) return;
      step_ = product_.begin_;
      tile_ += gridDim.x;
      if (tile_ < product_.num_tiles_) {
        weights_ = WeightRows(FewRowsTile(product_.p_, tile_), product_.p_.k, product_.lane_);
      }
    }
    const ProductFew& product_;
    int tile_, step_;
    WeightRows weights_;
  };

  TTT_DEVICE unsigned char* stage_at(int stage) const { return ring_ + stage * kStageBytes; }

  TTT_DEVICE void clear() {
    TTT_UNROLL for (int r = 0; r < kRowTiles; ++r) {
      TTT_UNROLL for (int e = 0; e < 4; ++e) sums_[r][e] = 0.0F;
    }
  }

  TTT_DEVICE void multiply(const unsigned char* stage) {
    std::uint32_t W[2][4], x[kRowTiles][4];  // x[r][2 half], x[r][2 half + 1]: both halves of a step
    TTT_UNROLL for (int half = 0; half < 2; ++half) load_matrices(W[half], stage + weight_offset_[half]);
    TTT_UNROLL for (int r = 0; r < kRowTiles; ++r) {
      load_matrices(x[r], stage + input_offset_ + 8 * r * ProductRows::kBytes);
    }
    TTT_UNROLL for (int half = 0; half < 2; ++half) {
      TTT_UNROLL for (int r = 0; r < kRowTiles; ++r) {
        multiply_accumulate<kFp16>(sums_[r], W[half], x[r][2 * half], x[r][2 * half + 1]);
      }
    }
  }

  // The sums of a warp: [kRows][16 rows of weights].
  TTT_DEVICE float* sums_of(int warp) const { return sums_of_warps_ + warp * kRows * kOutputs; }

  TTT_DEVICE void store_sums() {
    float* const sums = sums_of(warp_);
    TTT_UNROLL for (int r = 0; r < kRowTiles; ++r) {
      TTT_UNROLL for (int e = 0; e < 4; ++e) {
        const int row = 8 * r + 2 * (lane_ % 4) + e % 2, output = lane_ / 4 + 8 * (e / 2);
        sums[row * kOutputs + output] = sums_[r][e];
      }
    }
  }

  TTT_DEVICE float total(int row, int output) const {
    float sum = 0.0F;
    TTT_UNROLL for (int warp = 0; warp < kWarps; ++warp) sum += sums_of(warp)[row * kOutputs + output];
    return sum;
  }

  TTT_DEVICE void store(const FewRowsTile& tile) const {
    const FewRowsMatrix& matrix = tile.matrix;
    const int outputs = tile.outputs();
    for (int i = threadIdx.x; i < p_.rows * outputs; i += kThreads) {
      const int row = i / outputs, output = i % outputs;
      if (tile.first_output + output >= matrix.n) continue;
      const std::size_t at = static_cast<std::size_t>(row) * matrix.n + tile.first_output + output;
      const float sum = total(row, output);
      if (matrix.up != nullptr) {
        store_operand(matrix.out, at, silu(sum) * total(row, kOutputs / 2 + output));
      } else {
        float* const out = static_cast<float*>(matrix.out.data) + at;
        *out = matrix.adds ? *out + sum : sum;
      }
    }
  }

  const ProductFewParams& p_;
  const int lane_, warp_;
  unsigned char* const ring_;
  float* const sums_of_warps_;
  const int num_tiles_;
  int begin_, end_;  // steps of the warp's slice
  const LaneCopies<kRowTiles> inputs_;
  // Where the lane reads its row of a matrix of load_matrices, in a stage
  const int weight_offset_[2] = {kept(ProductRows::chunk_offset(lane_ % 16, lane_ / 16)),
                                 kept(ProductRows::chunk_offset(lane_ % 16, 2 + lane_ / 16))};
  const int input_offset_ = kept(kInputOffset + ProductRows::chunk_offset(lane_ % 8, lane_ / 8));
  float sums_[kRowTiles][4];
};

template <bool kFp16, int kRowTiles>
using ProductFewHalf = ProductFew<kFp16, kRowTiles, HalfRows>;

template <bool kFp16, int kRowTiles>
__global__ void __launch_bounds__(ProductFewHalf<kFp16, kRowTiles>::kThreads)
    product_few(const ProductFewParams p) {
  TTT_DYNAMIC_SHARED(shared);
  ProductFewHalf<kFp16, kRowTiles>(p, shared).run();
}

template <typename Weights, int kRowTiles>
using ProductFewQuantised = ProductFew<true, kRowTiles, QuantisedRows<Weights>>;

template <typename Weights, int kRowTiles>
__global__ void __launch_bounds__(ProductFewQuantised<Weights, kRowTiles>::kThreads)
    product_few_quantised(const ProductFewParams p) {
  TTT_DYNAMIC_SHARED(shared);
  ProductFewQuantised<Weights, kRowTiles>(p, shared).run();
}

}  // namespace ttt::cuda
