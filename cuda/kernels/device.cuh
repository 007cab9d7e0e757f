// SPDX-License-Identifier: Apache-2.0
// Every device primitive that a kernel uses, in two bodies: PTX under nvcc, the block emulator
// (tests/emulator/) under a host compiler. Kernels hold no PTX of their own, no static __shared__ and no
// collective that part of a warp leaves out. All are C++17.
//
// Fragments, for lane = 4 group + member; a register holds two neighbouring 16-bit elements, the first one
// low:
//   a[0], a[1]   (group, 2 member) and (group + 8, 2 member) of A [16, 16]; a[2], a[3] the same, 8 columns on
//   b0, b1       (2 member, group) and (2 member + 8, group) of B [16, 8]
//   d[0], d[1]   (group, 2 member) and the next of D [16, 8]; d[2], d[3] the same, 8 rows on
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#ifdef __CUDACC__
#define TTT_DEVICE __device__ __forceinline__
#define TTT_UNROLL _Pragma("unroll")
#define TTT_NO_UNROLL _Pragma("unroll 1")
// The block's dynamic shared memory.
#define TTT_DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#else
#include <bit>
#include <cmath>
#include <cstring>
#define TTT_DEVICE inline
#define TTT_UNROLL
#define TTT_NO_UNROLL
#define TTT_DYNAMIC_SHARED(name) unsigned char* const name = ::ttt::emulator::current_thread->shared
#endif

namespace ttt::cuda {

inline constexpr int kWarp = 32;

#ifdef __CUDACC__

// ---- numbers

TTT_DEVICE std::uint32_t float_bits(float x) { return __float_as_uint(x); }
TTT_DEVICE float bits_float(std::uint32_t bits) { return __uint_as_float(bits); }

// x, which from here on is kept: the compiler would rather work it out again at every use.
TTT_DEVICE int kept(int x) {
  int result;
  asm volatile("mov.b32 %0, %1;" : "=r"(result) : "r"(x));
  return result;
}
TTT_DEVICE std::uint32_t kept(std::uint32_t x) {
  return static_cast<std::uint32_t>(kept(static_cast<int>(x)));
}

// Two floats as 16-bit numbers, to nearest even; `low` comes first in memory.
TTT_DEVICE std::uint32_t pack_bf16(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
TTT_DEVICE std::uint32_t pack_half(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
TTT_DEVICE float load_half(std::uint16_t bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}

// Two fp16 numbers at once, each rounded to nearest even.
TTT_DEVICE std::uint32_t subtract_halves(std::uint32_t a, std::uint32_t b) {
  std::uint32_t difference;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(difference) : "r"(a), "r"(b));
  return difference;
}
TTT_DEVICE std::uint32_t multiply_halves(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
  return product;
}
// Bytes i and i + 1 of four, i even, each as the low byte of 16 bits.
TTT_DEVICE std::uint32_t spread_bytes(std::uint32_t bytes, int i) {
  return __byte_perm(bytes, 0U, i == 0 ? 0x4140U : 0x4342U);
}

// IEEE: 1 / sqrt(x) by two exact operations, and what libm gives.
TTT_DEVICE float rsqrt_exact(float x) { return __fdiv_rn(1.0F, __fsqrt_rn(x)); }
// Relative errors of at most 2^-22, 2^-11 and about 2^-21 (near 0).
TTT_DEVICE float rsqrt_approx(float x) { return rsqrtf(x); }
TTT_DEVICE float tanh_approx(float x) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
TTT_DEVICE float exp_approx(float x) { return __expf(x); }

// ---- the grid

// A kernel that is launched to start early (LaunchShape) runs while those before it still do, and all that
// they write is there only after it has waited. It waits in every block, and writes nothing before. What no
// kernel of a step has written may be read before: weights, and the states of the layer's own kernels.
// Nothing for compute capabilities below 9.0.
TTT_DEVICE void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// When all blocks have said so, or ended, the next kernel may start early.
TTT_DEVICE void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// ---- the warp: all 32 lanes

TTT_DEVICE void sync_warp() { __syncwarp(); }
TTT_DEVICE float shuffle_xor(float value, int mask) { return __shfl_xor_sync(0xFFFFFFFFU, value, mask); }
TTT_DEVICE float shuffle(float value, int lane) { return __shfl_sync(0xFFFFFFFFU, value, lane); }
TTT_DEVICE std::uint32_t shuffle_xor(std::uint32_t value, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFU, value, mask);
}
TTT_DEVICE std::uint32_t shuffle(std::uint32_t value, int lane) {
  return __shfl_sync(0xFFFFFFFFU, value, lane);
}

// movmatrix: the fragment of an 8x8 matrix becomes that of its transposed.
TTT_DEVICE std::uint32_t transpose_8x8(std::uint32_t fragment) {
  std::uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(fragment));
  return result;
}

TTT_DEVICE std::uint32_t shared_address(const void* at) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(at));
}

// ldmatrix.x4: lane 8 m + r points to row r, 16 bytes in shared memory, of matrix m; register m gets its
// fragment.
TTT_DEVICE void load_matrices(std::uint32_t (&fragment)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(shared_address(row))
               : "memory");
}
TTT_DEVICE void load_matrices_transposed(std::uint32_t (&fragment)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
               : "r"(shared_address(row))
               : "memory");
}

// d += a b in fp32, A [16, 16] and B [16, 8] in bf16 or fp16.
TTT_DEVICE void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
TTT_DEVICE void mma_half(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// ---- global memory

// Two or four neighbouring floats at once, aligned to their size. The compiler takes such a store apart where
// it does not see the whole address.
TTT_DEVICE float2 load_global_8(const float* at) {
  float2 x;
  asm volatile("ld.global.v2.f32 {%0, %1}, [%2];" : "=f"(x.x), "=f"(x.y) : "l"(at) : "memory");
  return x;
}
TTT_DEVICE float4 load_global_16(const float* at) {
  float4 x;
  asm volatile("ld.global.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "l"(at)
               : "memory");
  return x;
}
TTT_DEVICE void store_global_8(float* at, float2 x) {
  asm volatile("st.global.v2.f32 [%0], {%1, %2};" ::"l"(at), "f"(x.x), "f"(x.y) : "memory");
}
TTT_DEVICE void store_global_16(float* at, float4 x) {
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(at), "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w)
               : "memory");
}

// ---- the block

TTT_DEVICE void sync_block() { __syncthreads(); }
// Barriers 1 to 15, for `count` threads, a multiple of 32. Who arrives does not wait.
TTT_DEVICE void sync_named(int barrier, int count) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(count) : "memory");
}
TTT_DEVICE void arrive_named(int barrier, int count) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(count) : "memory");
}

// cp.async: from global to shared memory, 16 (4) bytes, aligned to as many; zeros where not `valid`, and then
// `from` is not read, but must be an address. Groups of copies are committed and waited for in order.
TTT_DEVICE void copy_async_16(void* to, const void* from, bool valid = true) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}
TTT_DEVICE void copy_async_4(void* to, const void* from, bool valid = true) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(valid ? 4 : 0)
               : "memory");
}
TTT_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Begins to bring what lies at this address of global memory into the L2 cache.
TTT_DEVICE void prefetch(const void* at) { asm volatile("prefetch.global.L2 [%0];" ::"l"(at)); }
// Waits for the calling thread's groups but the last N; others see what was copied after a barrier.
template <int N>
TTT_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

#else  // the block emulator

using emulator::Site;

TTT_DEVICE std::uint32_t float_bits(float x) { return std::bit_cast<std::uint32_t>(x); }
TTT_DEVICE float bits_float(std::uint32_t bits) { return std::bit_cast<float>(bits); }
TTT_DEVICE int kept(int x) { return x; }
TTT_DEVICE std::uint32_t kept(std::uint32_t x) { return x; }

TTT_DEVICE std::uint32_t emulated_bf16(float x) {
  const std::uint32_t bits = float_bits(x);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return 0x7FFFU;  // NaN
  return (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
}
TTT_DEVICE std::uint32_t pack_bf16(float low, float high) {
  return emulated_bf16(low) | (emulated_bf16(high) << 16);
}

TTT_DEVICE std::uint32_t emulated_half(float x) {
  const std::uint32_t bits = float_bits(x), sign = (bits >> 16) & 0x8000U, magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return 0x7FFFU;          // NaN
  if (magnitude >= 0x477FF000U) return sign | 0x7C00U;  // rounds to infinity
  if (magnitude < 0x38800000U) {                        // subnormal: a multiple of 2^-24
    return sign | static_cast<std::uint32_t>(std::nearbyint(bits_float(magnitude) * 0x1p24F));
  }
  return sign | ((magnitude - 0x38000000U + 0xFFFU + ((magnitude >> 13) & 1U)) >> 13);
}
TTT_DEVICE std::uint32_t pack_half(float low, float high) {
  return emulated_half(low) | (emulated_half(high) << 16);
}
TTT_DEVICE float load_half(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16, exponent = (bits >> 10) & 0x1FU,
                      fraction = bits & 0x3FFU;
  if (exponent == 0x1FU) return bits_float(sign | 0x7F800000U | (fraction << 13));
  if (exponent == 0U) return bits_float(sign | float_bits(static_cast<float>(fraction) * 0x1p-24F));
  return bits_float(sign | ((exponent + 112U) << 23) | (fraction << 13));
}

TTT_DEVICE std::uint32_t subtract_halves(std::uint32_t a, std::uint32_t b) {
  const auto low = [](std::uint32_t pair) { return load_half(static_cast<std::uint16_t>(pair)); };
  return pack_half(low(a) - low(b), low(a >> 16) - low(b >> 16));
}
TTT_DEVICE std::uint32_t multiply_halves(std::uint32_t a, std::uint32_t b) {
  const auto low = [](std::uint32_t pair) { return load_half(static_cast<std::uint16_t>(pair)); };
  return pack_half(low(a) * low(b), low(a >> 16) * low(b >> 16));
}
TTT_DEVICE std::uint32_t spread_bytes(std::uint32_t bytes, int i) {
  return (bytes >> (8 * i) & 0xFFU) | (bytes >> (8 * i + 8) & 0xFFU) << 16;
}

TTT_DEVICE float rsqrt_exact(float x) { return 1.0F / std::sqrt(x); }
TTT_DEVICE float rsqrt_approx(float x) { return 1.0F / std::sqrt(x); }
// As wrong as the PTX manual allows: the 11 leading bits of the result.
TTT_DEVICE float tanh_approx(float x) {
  return bits_float((float_bits(std::tanh(x)) + 0x1000U) & 0xFFFFE000U);
}
TTT_DEVICE float exp_approx(float x) { return std::exp(x); }

// One kernel at a time is run, but who starts early and does not wait is found out.
TTT_DEVICE void wait_for_previous() { emulator::current_thread->has_waited = true; }
TTT_DEVICE void let_next_start() {}

TTT_DEVICE void sync_warp(const Site& site = Site::current()) { emulator::sync_warp(site); }
TTT_DEVICE float shuffle_xor(float value, int mask, const Site& site = Site::current()) {
  return bits_float(emulator::shuffle_xor(float_bits(value), static_cast<unsigned>(mask), site));
}
TTT_DEVICE float shuffle(float value, int lane, const Site& site = Site::current()) {
  return bits_float(emulator::shuffle(float_bits(value), static_cast<unsigned>(lane), site));
}
TTT_DEVICE std::uint32_t shuffle_xor(std::uint32_t value, int mask, const Site& site = Site::current()) {
  return emulator::shuffle_xor(value, static_cast<unsigned>(mask), site);
}
TTT_DEVICE std::uint32_t shuffle(std::uint32_t value, int lane, const Site& site = Site::current()) {
  return emulator::shuffle(value, static_cast<unsigned>(lane), site);
}
TTT_DEVICE std::uint32_t transpose_8x8(std::uint32_t fragment, const Site& site = Site::current()) {
  return emulator::transpose_8x8(fragment, site);
}

// The rows are read here, where the sanitizers see whose they are.
TTT_DEVICE void emulated_load(std::uint32_t (&fragment)[4], const void* row, bool transposed,
                              const Site& site) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0) emulator::misaligned("load_matrices", site);
  const auto* words = static_cast<const std::uint32_t*>(row);
  const std::uint32_t mine[4] = {words[0], words[1], words[2], words[3]};
  emulator::load_matrices(fragment, mine, transposed, site);
}
TTT_DEVICE void load_matrices(std::uint32_t (&fragment)[4], const void* row,
                              const Site& site = Site::current()) {
  emulated_load(fragment, row, false, site);
}
TTT_DEVICE void load_matrices_transposed(std::uint32_t (&fragment)[4], const void* row,
                                         const Site& site = Site::current()) {
  emulated_load(fragment, row, true, site);
}
TTT_DEVICE void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                         const Site& site = Site::current()) {
  emulator::multiply_accumulate(emulator::HalfType::kBf16, d, a, b0, b1, site);
}
TTT_DEVICE void mma_half(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                         const Site& site = Site::current()) {
  emulator::multiply_accumulate(emulator::HalfType::kFp16, d, a, b0, b1, site);
}

template <typename Floats>
TTT_DEVICE Floats& emulated_global(const float* at, const char* what, const Site& site) {
  if (reinterpret_cast<std::uintptr_t>(at) % sizeof(Floats) != 0) emulator::misaligned(what, site);
  return *reinterpret_cast<Floats*>(const_cast<float*>(at));
}
TTT_DEVICE float2 load_global_8(const float* at, const Site& site = Site::current()) {
  return emulated_global<float2>(at, "load_global_8", site);
}
TTT_DEVICE float4 load_global_16(const float* at, const Site& site = Site::current()) {
  return emulated_global<float4>(at, "load_global_16", site);
}
TTT_DEVICE void store_global_8(float* at, float2 x, const Site& site = Site::current()) {
  emulated_global<float2>(at, "store_global_8", site) = x;
}
TTT_DEVICE void store_global_16(float* at, float4 x, const Site& site = Site::current()) {
  emulated_global<float4>(at, "store_global_16", site) = x;
}

TTT_DEVICE void sync_block(const Site& site = Site::current()) {
  emulator::sync_barrier(0, emulator::current_thread->block_size.x, site);
}
TTT_DEVICE void sync_named(int barrier, int count, const Site& site = Site::current()) {
  emulator::sync_barrier(static_cast<unsigned>(barrier), static_cast<unsigned>(count), site);
}
TTT_DEVICE void arrive_named(int barrier, int count, const Site& site = Site::current()) {
  emulator::arrive_barrier(static_cast<unsigned>(barrier), static_cast<unsigned>(count), site);
}

// From the issue to the wait the destination is nobody's: NaN at the one, the copy at the other.
TTT_DEVICE void emulated_copy(void* to, const void* from, unsigned bytes, bool valid, const Site& site) {
  if (reinterpret_cast<std::uintptr_t>(to) % bytes != 0 ||
      reinterpret_cast<std::uintptr_t>(from) % bytes != 0) {
    emulator::misaligned("copy_async", site);
  }
  auto* words = static_cast<std::uint32_t*>(to);
  for (unsigned i = 0; i < bytes / 4; ++i) words[i] = 0xFFFFFFFFU;
  emulator::issue_copy({to, from, bytes, !valid});
}
TTT_DEVICE void copy_async_16(void* to, const void* from, bool valid = true,
                              const Site& site = Site::current()) {
  emulated_copy(to, from, 16, valid, site);
}
TTT_DEVICE void copy_async_4(void* to, const void* from, bool valid = true,
                             const Site& site = Site::current()) {
  emulated_copy(to, from, 4, valid, site);
}
TTT_DEVICE void commit_copies() { emulator::commit_copies(); }
TTT_DEVICE void prefetch(const void*) {}
template <int N>
TTT_DEVICE void wait_copies() {
  emulator::AsyncCopy copy;
  while (emulator::next_due_copy(N, copy)) {
    auto* to = static_cast<std::uint32_t*>(copy.to);
    const auto* from = static_cast<const std::uint32_t*>(copy.from);
    for (unsigned i = 0; i < copy.bytes / 4; ++i) to[i] = copy.zero_fill ? 0U : from[i];
  }
}

#endif

// ---- the same for both

TTT_DEVICE float load_bf16(std::uint16_t bits) { return bits_float(static_cast<std::uint32_t>(bits) << 16); }
TTT_DEVICE float low_bf16(std::uint32_t pair) { return bits_float(pair << 16); }
TTT_DEVICE float high_bf16(std::uint32_t pair) { return bits_float(pair & 0xFFFF0000U); }
TTT_DEVICE float round_bf16(float x) { return low_bf16(pack_bf16(x, 0.0F)); }

}  // namespace ttt::cuda
