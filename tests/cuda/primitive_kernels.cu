// SPDX-License-Identifier: Apache-2.0
#include "tests/cuda/primitive_kernels.h"

#include "cuda/kernels/device.cuh"
#include "cuda/launch.cuh"

namespace ttt::test {

// Not private names: the emulator counts launches by the names that the program exports.

__global__ void primitive_numbers(const NumberParams p) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  const float x = p.x[i], magnitude = x < 0.0F ? -x : x;
  NumberResults r;
  r.bf16_pair = cuda::pack_bf16(x, p.y[i]);
  r.half_pair = cuda::pack_half(x, p.y[i]);
  r.from_half = cuda::load_half(p.halves[i]);
  r.from_bf16 = cuda::load_bf16(p.halves[i]);
  r.low = cuda::low_bf16(r.bf16_pair);
  r.high = cuda::high_bf16(r.bf16_pair);
  r.rounded = cuda::round_bf16(x);
  r.bits = cuda::float_bits(x);
  r.back = cuda::bits_float(r.bits);
  r.kept = cuda::kept(static_cast<int>(i));
  r.rsqrt_exact = cuda::rsqrt_exact(magnitude);
  r.rsqrt_approx = cuda::rsqrt_approx(magnitude);
  r.tanh = cuda::tanh_approx(x);
  r.exp = cuda::exp_approx(x);
  p.results[i] = r;
}

__global__ void primitive_pairs(const PairParams p) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  p.results[i] = {cuda::subtract_halves(p.a[i], p.b[i]), cuda::multiply_halves(p.a[i], p.b[i]),
                  cuda::spread_bytes(p.a[i], 0), cuda::spread_bytes(p.a[i], 2)};
}

__global__ void primitive_shuffles(const ShuffleParams p) {
  const unsigned i = threadIdx.x;
  const int lane = static_cast<int>(7 * i % 32);
  p.results[i] = {cuda::shuffle_xor(p.x[i], p.mask), cuda::shuffle(p.x[i], lane),
                  cuda::shuffle_xor(p.bits[i], p.mask), cuda::shuffle(p.bits[i], lane)};
}

__global__ void primitive_fragments(const FragmentParams p) {
  TTT_DYNAMIC_SHARED(shared);
  constexpr unsigned kRowBytes = 16;
  const unsigned lane = threadIdx.x;
  auto* row = reinterpret_cast<std::uint16_t*>(shared + 11 * lane % 32 * kRowBytes);
  for (unsigned column = 0; column < 8; ++column) row[column] = p.rows[8 * lane + column];
  cuda::sync_warp();
  FragmentResults r;
  cuda::load_matrices(r.plain, row);
  cuda::load_matrices_transposed(r.transposed, row);
  r.moved = cuda::transpose_8x8(r.plain[2]);
  p.results[lane] = r;
}

__global__ void primitive_mma(const MmaParams p) {
  const unsigned lane = threadIdx.x, group = lane / 4, member = lane % 4;
  const std::uint16_t *A = p.A + 256 * blockIdx.x, *B = p.B + 128 * blockIdx.x;
  const auto pair = [](std::uint16_t low, std::uint16_t high) {
    return low | static_cast<std::uint32_t>(high) << 16;
  };
  const auto of_A = [&](unsigned row, unsigned column) {
    return pair(A[16 * row + column], A[16 * row + column + 1]);
  };
  const auto of_B = [&](unsigned row, unsigned column) {
    return pair(B[8 * row + column], B[8 * (row + 1) + column]);
  };
  const std::uint32_t a[4] = {of_A(group, 2 * member), of_A(group + 8, 2 * member),
                              of_A(group, 2 * member + 8), of_A(group + 8, 2 * member + 8)};
  const std::uint32_t b0 = of_B(2 * member, group), b1 = of_B(2 * member + 8, group);
  float d[4];
  const auto place = [&](unsigned e) {
    return 128 * blockIdx.x + 8 * (group + 8 * (e / 2)) + 2 * member + e % 2;
  };
  for (unsigned e = 0; e < 4; ++e) d[e] = p.C[place(e)];
  if (p.is_half) {
    cuda::mma_half(d, a, b0, b1);
  } else {
    cuda::mma_bf16(d, a, b0, b1);
  }
  for (unsigned e = 0; e < 4; ++e) p.D[place(e)] = d[e];
}

__global__ void primitive_copies(const CopyParams p) {
  TTT_DYNAMIC_SHARED(shared);
  const unsigned i = threadIdx.x, other = 63 - i;
  auto *const rows = reinterpret_cast<float*>(shared), *const numbers = rows + 256;
  cuda::prefetch(p.from + 4 * other);
  cuda::copy_async_16(rows + 4 * i, p.from + 4 * i, i % 3 != 0);
  cuda::commit_copies();
  cuda::copy_async_4(numbers + i, p.from + 256 + i, i % 5 != 0);
  cuda::commit_copies();
  cuda::wait_copies<1>();
  cuda::sync_block();
  for (unsigned e = 0; e < 4; ++e) p.first[4 * i + e] = rows[4 * other + e];
  cuda::wait_copies<0>();
  cuda::sync_block();
  p.last[i] = numbers[other];
}

__global__ void primitive_barriers(const BarrierParams p) {
  TTT_DYNAMIC_SHARED(shared);
  constexpr int kFull = 1, kEmpty = 2, kReaders = 3;
  auto* const numbers = reinterpret_cast<int*>(shared);
  const int i = static_cast<int>(threadIdx.x % 64);
  if (threadIdx.x < 64) {
    for (int round = 0; round < p.rounds; ++round) {
      cuda::sync_named(kEmpty, 128);
      numbers[i] = round * (i + 1);
      cuda::arrive_named(kFull, 128);
    }
    return;
  }
  int sum = 0;
  for (int round = 0; round < p.rounds; ++round) {
    cuda::arrive_named(kEmpty, 128);
    cuda::sync_named(kFull, 128);
    sum += numbers[63 - i];
    cuda::sync_named(kReaders, 64);
  }
  p.found[i] = sum;
}

__global__ void primitive_chain(const ChainParams p) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  cuda::let_next_start();
  cuda::wait_for_previous();
  p.to[i] = 3 * p.from[(i + 1) % 1024] + 1;
}

void launch_numbers(const NumberParams& params, std::size_t num_warps) {
  cuda::launch(primitive_numbers, {static_cast<unsigned>(num_warps), 1, cuda::kWarp}, params, nullptr);
}

void launch_pairs(const PairParams& params, std::size_t num_warps) {
  cuda::launch(primitive_pairs, {static_cast<unsigned>(num_warps), 1, cuda::kWarp}, params, nullptr);
}

void launch_shuffles(const ShuffleParams& params) {
  cuda::launch(primitive_shuffles, {1, 1, 2 * cuda::kWarp}, params, nullptr);
}

void launch_fragments(const FragmentParams& params) {
  cuda::launch(primitive_fragments, {1, 1, cuda::kWarp, 32 * 16}, params, nullptr);
}

void launch_mma(const MmaParams& params, std::size_t count) {
  cuda::launch(primitive_mma, {static_cast<unsigned>(count), 1, cuda::kWarp}, params, nullptr);
}

void launch_copies(const CopyParams& params) {
  cuda::launch(primitive_copies, {1, 1, 64, (256 + 64) * sizeof(float)}, params, nullptr);
}

void launch_barriers(const BarrierParams& params) {
  cuda::launch(primitive_barriers, {1, 1, 128, 64 * sizeof(int)}, params, nullptr);
}

void launch_chain(ChainParams params, int count, cudaStream_t stream) {
  for (int i = 0; i < count; ++i) {
    cuda::launch(primitive_chain, {8, 1, 128, 0, /*starts_early=*/true}, params, stream);
    params = {params.to, params.from};
  }
}

#ifdef __CUDACC__
namespace {
__global__ void trap() { asm("trap;"); }
}  // namespace

void break_device() {
  trap<<<1, 1>>>();
  cudaDeviceSynchronize();
}
#endif

}  // namespace ttt::test
