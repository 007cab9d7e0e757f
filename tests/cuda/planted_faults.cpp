// SPDX-License-Identifier: Apache-2.0
// Kernels with one fault each, which a sanitizer must report: planted_faults FAULT. A program by itself,
// because a sanitizer ends it. Without a fault ("none") nothing may be reported.
#include <block_emulator.h>

#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cuda/kernels/device.cuh"
#include "cuda/kernels/ttt_linear_prefill.cuh"
#include "cuda/launch.cuh"

namespace {

using namespace ttt::cuda;

// Thread i reads what thread i ^ 32, of the other warp, wrote; right with a barrier in between.
void read_of_other_warp(bool with_barrier) {
  int sum = 0;
  ttt::emulator::run_grid("read_of_other_warp", {.threads = 64, .shared_bytes = 64 * sizeof(int)}, [&] {
    TTT_DYNAMIC_SHARED(shared);
    int* const numbers = reinterpret_cast<int*>(shared);
    numbers[threadIdx.x] = static_cast<int>(threadIdx.x);
    if (with_barrier) sync_block();
    if (threadIdx.x == 40) sum = numbers[threadIdx.x ^ 32U];
  });
  std::printf("sum %d\n", sum);
}

void blocks_write_one_place() {
  int place = 0;
  ttt::emulator::run_grid("blocks_write_one_place", {.x = 2, .threads = 32}, [&] {
    if (threadIdx.x == 0) place = static_cast<int>(blockIdx.x);
  });
  std::printf("place %d\n", place);
}

void overrun_shared_memory() {
  ttt::emulator::run_grid("overrun_shared_memory", {.threads = 32, .shared_bytes = 31 * sizeof(int)}, [] {
    TTT_DYNAMIC_SHARED(shared);
    reinterpret_cast<int*>(shared)[threadIdx.x] = 1;
  });
}

[[gnu::noinline]] int* place_in_a_frame() {
  int local = 0;
  int* place = &local;
  asm volatile("" : "+r"(place));  // the compiler must not see where it leads
  return place;
}

// In the third block: on stacks that others used before.
void write_into_a_frame_that_is_gone() {
  ttt::emulator::run_grid("write_into_a_frame_that_is_gone", {.x = 3, .threads = 32}, [] {
    int* const place = place_in_a_frame();
    if (blockIdx.x == 2 && threadIdx.x == 7) *place = 1;
  });
}

struct FillParams {
  float* numbers;
};
void fill_33_kernel(const FillParams p) {
  p.numbers[threadIdx.x] = 0.0F;
  if (threadIdx.x == 0) p.numbers[32] = 0.0F;
}

void overrun_device_memory() {
  float* numbers = nullptr;
  check(cudaMalloc(&numbers, 32 * sizeof(float)), "numbers");
  launch(fill_33_kernel, {.threads = 32}, FillParams{numbers}, nullptr);
  check(cudaFree(numbers), "numbers");
}

void touch_device_memory() {
  float* numbers = nullptr;
  check(cudaMalloc(&numbers, 32 * sizeof(float)), "numbers");
  std::printf("%f\n", static_cast<double>(numbers[3]));
}

// The kernel with a ring of `stages`, over 64 tokens.
template <int kStages>
void run_ring() {
  constexpr int f = 64, kTokens = 64;
  using Kernel = LinearPrefill<f, kStages>;
  alignas(16) static std::uint16_t operands[kTokens * f] = {};
  alignas(16) static std::uint16_t out[kTokens * f] = {};
  alignas(16) static float state[f * f + f + 16 * 2 * f] = {};
  static float alpha[kTokens] = {}, eta[16] = {}, norm[f] = {};
  static const SegmentEntry segment = {
      .state = state, .first_row = 0, .num_rows = kTokens, .phase = 0, .wants_losses = 0};
  const TttPrefillParams params = {.segments = &segment,
                                   .q = operands,
                                   .k = operands,
                                   .target = operands,
                                   .out = out,
                                   .row_stride = f,
                                   .alpha = alpha,
                                   .token_eta = eta,
                                   .norm_weight = norm,
                                   .norm_bias = norm,
                                   .open_rows = f * f + f,
                                   .num_segments = 1,
                                   .num_heads = 1};
  launch(ttt_linear_prefill<f, kStages>, {.threads = Kernel::kThreads, .shared_bytes = Kernel::kSharedBytes},
         params, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, std::function<void()>> faults = {
      {"none",
       [] {
         read_of_other_warp(true);
         run_ring<3>();
       }},
      {"race", [] { read_of_other_warp(false); }},
      {"ring", run_ring<2>},
      {"blocks", blocks_write_one_place},
      {"shared", overrun_shared_memory},
      {"frame", write_into_a_frame_that_is_gone},
      {"device", overrun_device_memory},
      {"host", touch_device_memory},
  };
  const auto fault = faults.find(argc == 2 ? argv[1] : "");
  if (fault == faults.end()) return 2;
  fault->second();
  return 0;
}
