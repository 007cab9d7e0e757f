// SPDX-License-Identifier: Apache-2.0
// Small kernels, each of which gives what a primitive of cuda/kernels/device.cuh makes of given numbers: the
// emulator's bodies of it or, built by nvcc, the hardware's. Each launch is of whole warps; arrays are device
// memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace ttt::test {

// Of a thread with the numbers x and y, and 16 bits.
struct NumberResults {
  std::uint32_t bf16_pair, half_pair;  // x low, y high
  float from_half, from_bf16;          // of the 16 bits
  float low, high, rounded;            // of bf16_pair; of x
  std::uint32_t bits;                  // of x
  float back;                          // x, by its bits
  int kept;
  float rsqrt_exact, rsqrt_approx;  // of |x|
  float tanh, exp;                  // of x
};
struct NumberParams {
  const float *x, *y;
  const std::uint16_t* halves;
  NumberResults* results;
};
void launch_numbers(const NumberParams& params, std::size_t num_warps);

struct PairResults {
  std::uint32_t difference, product;  // of two fp16 numbers each
  std::uint32_t low_bytes, high_bytes;
};
struct PairParams {
  const std::uint32_t *a, *b;
  PairResults* results;
};
void launch_pairs(const PairParams& params, std::size_t num_warps);

// Of thread i: from the lane whose number differs by `mask`; from the lane 7 i mod 32.
struct ShuffleResults {
  float crossed_float, picked_float;
  std::uint32_t crossed, picked;
};
struct ShuffleParams {
  const float* x;
  const std::uint32_t* bits;
  int mask;
  ShuffleResults* results;
};
void launch_shuffles(const ShuffleParams& params);  // two warps of one block

// Of lane i, which points to row 11 i mod 32 in shared memory, where row i of `rows` lies.
struct FragmentResults {
  std::uint32_t plain[4], transposed[4], moved;  // moved: plain[2] transposed in registers
};
struct FragmentParams {
  const std::uint16_t* rows;  // [32, 8]: four matrices of 8 x 8
  FragmentResults* results;   // [32]
};
void launch_fragments(const FragmentParams& params);

// D = A B + C for some matrices, one after another.
struct MmaParams {
  const std::uint16_t* A;  // [count, 16, 16]
  const std::uint16_t* B;  // [count, 16, 8]
  const float* C;          // [count, 16, 8]
  float* D;                // [count, 16, 8]
  bool is_half;            // fp16; else bf16
};
void launch_mma(const MmaParams& params, std::size_t count);

// Two groups of copies, of thread i to its own place: 16 bytes unless i % 3 == 0, then 4 bytes unless
// i % 5 == 0, zeros there; read after each wait and a barrier by thread 63 - i.
struct CopyParams {
  const float* from;    // [64, 4], then [64]
  float *first, *last;  // [64, 4] after one group has come; [64] after both
};
void launch_copies(const CopyParams& params);

// A number goes round by round through 64 threads that write and 64 that read, with named barriers alone:
// what the latter have found, [64].
struct BarrierParams {
  int rounds;
  int* found;
};
void launch_barriers(const BarrierParams& params);

// numbers[i] = 3 numbers[(i + 1) mod 1024] + 1, from one array into the other, `count` times; every launch
// may start early.
struct ChainParams {
  std::uint32_t *from, *to;  // [1024]; they change places
};
void launch_chain(ChainParams params, int count, cudaStream_t stream);

// On a GPU only: a kernel that ends in a fault, and waits for it. Afterwards CUDA refuses everything in this
// process.
void break_device();

}  // namespace ttt::test
