// SPDX-License-Identifier: Apache-2.0
// What the products on tensor cores share: how rows lie in shared memory, and the order of their sums.
#pragma once

#include "cuda/kernels/device.cuh"

namespace ttt::cuda {

// Every element of a product is a sum of eight sums: k is cut into eight slices of equal length (the last
// ones may be shorter, or empty), each is one chain of multiply-accumulates in the order of k, in steps of
// 16, and what they give is added in their order. So eight warps can share the weights of few rows, and a row
// has the same bits in any kernel.
struct ProductOrder {
  static constexpr int kSlices = 8, kDepth = 32;  // elements of k in a step of a loop

  static TTT_DEVICE int steps(int k) { return (k + kDepth - 1) / kDepth; }
  static TTT_DEVICE int steps_of_slice(int k) { return (steps(k) + kSlices - 1) / kSlices; }
};

// Rows of 32 16-bit elements, one step of k, in chunks of 16 bytes. Chunks are permuted so that the eight
// rows of one ldmatrix phase lie in different banks.
struct ProductRows {
  static constexpr int kBytes = ProductOrder::kDepth * 2, kChunks = kBytes / 16;

  static TTT_DEVICE int chunk_offset(int row, int chunk) {
    return row * kBytes + (chunk ^ (row / 2 % 4)) * 16;
  }

  // Begins to bring rows [first, first + kRows) of a matrix of 16-bit elements, columns of `step`; zeros
  // where it ends. kThreads threads do it, of which the caller is number `thread`.
  template <int kRows, int kThreads>
  static TTT_DEVICE void copy(unsigned char* to, const std::uint16_t* matrix, std::size_t stride, int first,
                              int num_rows, int num_columns, int step, int thread) {
    TTT_UNROLL for (int i = thread; i < kRows * kChunks; i += kThreads) {
      const int row = i / kChunks, chunk = i % kChunks, column = step * ProductOrder::kDepth + chunk * 8;
      const bool valid = column < num_columns && first + row < num_rows;
      copy_async_16(to + chunk_offset(row, chunk), matrix + (valid ? (first + row) * stride + column : 0),
                    valid);
    }
  }
};

// Half of a row of block weights, as fp16.
template <typename Weights>
TTT_DEVICE void store_half_row(unsigned char* rows, int row, int half,
                               const typename Weights::Sixteen& sixteen) {
  TTT_UNROLL for (int second = 0; second < 2; ++second) {
    const int j = 4 * second;
    *reinterpret_cast<uint4*>(rows + ProductRows::chunk_offset(row, Weights::eight_of(half, second))) = {
        sixteen.halves(j), sixteen.halves(j + 1), sixteen.halves(j + 2), sixteen.halves(j + 3)};
  }
}

// d += a b in the type of the operands.
template <bool kFp16>
TTT_DEVICE void multiply_accumulate(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                    std::uint32_t b1) {
  if (kFp16) {
    mma_half(d, a, b0, b1);
  } else {
    mma_bf16(d, a, b0, b1);
  }
}

}  // namespace ttt::cuda
