// SPDX-License-Identifier: Apache-2.0
// See product_few.h. A block computes 16 outputs of all rows: each of its eight warps streams a slice of
// their weights through a ring of its own, and waits for no other warp before the sums are added up. Weights
// are the A operand (16 outputs), rows of x the B operand (8 rows): a tensor core then multiplies nothing in
// vain for 8 rows. How weights come into a stage of the ring is up to WeightRows.
#pragma once

#include "cuda/kernels/activations.cuh"
#include "cuda/kernels/block_weights.cuh"
#include "cuda/kernels/operand_rows.cuh"
#include "cuda/kernels/product_few.h"
#include "cuda/kernels/product_tiles.cuh"
#include "cuda/launch.cuh"

namespace ttt::cuda {

constexpr int kFewOutputs = 16;  // rows of weights of a block

// Which rows a block multiplies: with `up`, half of them are of the other matrix.
struct FewRowsPlace {
  FewRowsMatrix matrix;
  int first_output;  // of the block

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
  const int columns_left_;  // from the lane's chunk of the first step on
  const int offset_;
};

// Weights in 16 bits: copied as they are. kStages: of the ring.
template <int kStages>
class HalfRows {
 public:
  TTT_DEVICE HalfRows(const FewRowsPlace& place, int k, int lane)
      : copies_(k, lane, [&](int i) {
          const bool is_up = i == 1 && place.matrix.up != nullptr;
          const int row = place.inside(place.first_output + lane / 4 + (is_up ? 0 : 8 * i));
          return LaneRow{static_cast<const std::uint16_t*>(is_up ? place.matrix.up : place.matrix.W) +
                             static_cast<std::size_t>(row) * k,
                         1};
        }) {}

  // Begins to bring a step's weights into a stage, whose number a ring in registers needs, and ends it.
  TTT_DEVICE void fetch(int step, int, unsigned char* tile) { copies_.begin(step, tile); }
  TTT_DEVICE void store(int, unsigned char*) const {}

 private:
  const LaneCopies<2> copies_;
};

// Weights of a block type: they wait in registers as they are, and become fp16 in the stage. Each lane brings
// half of a row: its chunks 0 and 2, or 1 and 3.
template <typename Weights, int kStages>
class QuantisedRows {
 public:
  TTT_DEVICE QuantisedRows(const FewRowsPlace& place, int k, int lane)
      : weights_(is_up(place, lane) ? place.matrix.up : place.matrix.W,
                 static_cast<std::size_t>(place.matrix.n) * k),
        row_(lane / 2),
        chunk_(lane % 2) {
    begin_ = static_cast<std::size_t>(place.inside(place.first_output + row_ % place.outputs())) * k;
  }

  TTT_DEVICE void fetch(int step, int stage, unsigned char*) {
    TTT_UNROLL for (int i = 0; i < 2; ++i) {
      eights_[stage][i] = weights_.eight(begin_ + step * ProductOrder::kDepth + (chunk_ + 2 * i) * 8);
    }
  }

  TTT_DEVICE void store(int stage, unsigned char* tile) const {
    TTT_UNROLL for (int i = 0; i < 2; ++i) {
      const typename Weights::Eight& eight = eights_[stage][i];
      *reinterpret_cast<uint4*>(tile + ProductRows::chunk_offset(row_, chunk_ + 2 * i)) = {
          eight.halves(0), eight.halves(2), eight.halves(4), eight.halves(6)};
    }
  }

 private:
  static TTT_DEVICE bool is_up(const FewRowsPlace& place, int lane) {
    return place.matrix.up != nullptr && lane / 2 >= kFewOutputs / 2;
  }
  const Weights weights_;
  const int row_, chunk_;
  std::size_t begin_;  // of the row's weights
  typename Weights::Eight eights_[kStages][2];
};

// As many as leave room for two or three blocks, which keeps 64 to 96 KiB of 16-bit weights under way on a
// multiprocessor.
template <int kRowTiles>
constexpr int kFewStages = kRowTiles == 1 ? 6 : 4;

// kRowTiles: of 8 rows of x.
template <bool kFp16, int kRowTiles, typename WeightRows>
class ProductFew {
 public:
  static constexpr int kWarps = ProductOrder::kSlices, kThreads = kWarps * kWarp;
  static constexpr int kOutputs = kFewOutputs, kRows = 8 * kRowTiles, kStages = kFewStages<kRowTiles>;
  // A stage: 16 rows of weights, then kRows rows of x.
  static constexpr int kInputOffset = kOutputs * ProductRows::kBytes;
  static constexpr int kStageBytes = (kOutputs + kRows) * ProductRows::kBytes;
  static constexpr int kRingBytes = kStages * kStageBytes, kSharedBytes = kWarps * kRingBytes;
  static_assert(kRows * kOutputs * 4 <= kRingBytes, "the sums of a warp take the place of its ring");

  TTT_DEVICE ProductFew(const ProductFewParams& params, unsigned char* shared)
      : p_(params),
        lane_(threadIdx.x % kWarp),
        warp_(threadIdx.x / kWarp),
        shared_(shared),
        ring_(shared + kept(warp_ * kRingBytes)),
        place_(find_place(params)),
        weights_(place_, params.k, lane_),
        inputs_(params.k, lane_, [this](int i) {
          const int row = lane_ / 4 + 8 * i;
          const bool is_there = row < p_.rows;
          return LaneRow{p_.x + static_cast<std::size_t>(is_there ? row : 0) * p_.k, is_there ? 1 : 0};
        }) {}

  TTT_DEVICE void run() {
    TTT_UNROLL for (int r = 0; r < kRowTiles; ++r) {
      TTT_UNROLL for (int e = 0; e < 4; ++e) sums_[r][e] = 0.0F;
    }
    const int steps = ProductOrder::steps(p_.k), slice = ProductOrder::steps_of_slice(p_.k);
    const int begin = warp_ * slice < steps ? warp_ * slice : steps;
    const int end = begin + slice < steps ? begin + slice : steps;
    TTT_UNROLL for (int i = 0; i < kStages - 1; ++i) load_weights(begin + i, i, end);
    let_next_start();
    wait_for_previous();  // for x, and for what is added to
    TTT_UNROLL for (int i = 0; i < kStages - 1; ++i) load_inputs(begin + i, i, end);
    // The number of a stage must be known when compiled: weights may wait in registers.
    TTT_NO_UNROLL for (int first = begin; first < end; first += kStages) {
      TTT_UNROLL for (int stage = 0; stage < kStages; ++stage) {
        const int step = first + stage;
        if (step < end) {
          wait_copies<kStages - 2>();
          weights_.store(stage, stage_at(stage));
          sync_warp();  // the stage is there, and that of the step before is no longer read
          load_weights(step + kStages - 1, (stage + kStages - 1) % kStages, end);
          load_inputs(step + kStages - 1, (stage + kStages - 1) % kStages, end);
          multiply(stage_at(stage));
        }
      }
    }
    sync_warp();
    store_sums();
    sync_block();
    store();
  }

 private:
  static TTT_DEVICE FewRowsPlace find_place(const ProductFewParams& p) {
    const int block = blockIdx.x;
    int i = 0;
    while (block >= p.matrices[i].end_block) ++i;
    FewRowsPlace place = {p.matrices[i], block - (i > 0 ? p.matrices[i - 1].end_block : 0)};
    place.first_output *= place.outputs();
    return place;
  }

  TTT_DEVICE unsigned char* stage_at(int stage) const { return ring_ + stage * kStageBytes; }

  TTT_DEVICE void load_weights(int step, int stage, int end) {
    if (step < end) weights_.fetch(step, stage, stage_at(stage));
  }
  TTT_DEVICE void load_inputs(int step, int stage, int end) {
    if (step < end) inputs_.begin(step, stage_at(stage) + kInputOffset);
    commit_copies();
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
  TTT_DEVICE float* sums_of(int warp) const { return reinterpret_cast<float*>(shared_ + warp * kRingBytes); }

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

  TTT_DEVICE void store() {
    const FewRowsMatrix& matrix = place_.matrix;
    const int outputs = place_.outputs();
    for (int i = threadIdx.x; i < p_.rows * outputs; i += kThreads) {
      const int row = i / outputs, output = i % outputs;
      if (place_.first_output + output >= matrix.n) continue;
      const std::size_t at = static_cast<std::size_t>(row) * matrix.n + place_.first_output + output;
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
  unsigned char* const shared_;
  unsigned char* const ring_;
  const FewRowsPlace place_;
  WeightRows weights_;
  const LaneCopies<kRowTiles> inputs_;
  // Where the lane reads its row of a matrix of load_matrices, in a stage
  const int weight_offset_[2] = {kept(ProductRows::chunk_offset(lane_ % 16, lane_ / 16)),
                                 kept(ProductRows::chunk_offset(lane_ % 16, 2 + lane_ / 16))};
  const int input_offset_ = kept(kInputOffset + ProductRows::chunk_offset(lane_ % 8, lane_ / 8));
  float sums_[kRowTiles][4];
};

template <bool kFp16, int kRowTiles>
using ProductFewHalf = ProductFew<kFp16, kRowTiles, HalfRows<kFewStages<kRowTiles>>>;

template <bool kFp16, int kRowTiles>
__global__ void __launch_bounds__(ProductFewHalf<kFp16, kRowTiles>::kThreads)
    product_few(const ProductFewParams p) {
  TTT_DYNAMIC_SHARED(shared);
  ProductFewHalf<kFp16, kRowTiles>(p, shared).run();
}

template <typename Weights, int kRowTiles>
using ProductFewQuantised = ProductFew<true, kRowTiles, QuantisedRows<Weights, kFewStages<kRowTiles>>>;

template <typename Weights, int kRowTiles>
__global__ void __launch_bounds__(ProductFewQuantised<Weights, kRowTiles>::kThreads)
    product_few_quantised(const ProductFewParams p) {
  TTT_DYNAMIC_SHARED(shared);
  ProductFewQuantised<Weights, kRowTiles>(p, shared).run();
}

}  // namespace ttt::cuda
