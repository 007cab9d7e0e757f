// SPDX-License-Identifier: Apache-2.0
// Runs a CUDA kernel's own source on the CPU. Every CUDA thread is a fiber; all fibers of a block share one
// CPU thread, and the blocks of a grid run one after another. Kernels reach this header through
// cuda/kernels/device.cuh.
//
// What is checked: all 32 lanes of a warp enter a collective from the same place in the source; all threads
// of a block reach the same barrier; nobody waits for ever. Shared memory is exactly as large as was asked
// for and starts as NaN, so that the address sanitizer sees an overrun and a test a read before a write. The
// thread sanitizer is told of the order that barriers give, and of no other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <stdexcept>
#include <string>

namespace ttt::emulator {

inline constexpr unsigned kWarpSize = 32;

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

// What a kernel sees of itself.
struct Thread {
  Index thread_index, block_index, block_size, grid_size;
  unsigned char* shared = nullptr;
  bool has_waited = false;  // for the kernels before
};
extern thread_local Thread* current_thread;  // the one that is running; null outside a kernel

struct Grid {
  unsigned x = 1, y = 1;  // blocks
  unsigned threads = 0;   // of a block, a multiple of the warp size
  std::size_t shared_bytes = 0;
};

// A fault of the kernel: lanes that diverged at a collective, threads that wait for ever, a bad barrier.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Runs body once for every thread of the grid. `name` is for messages.
void run_grid(const std::string& name, const Grid& grid, const std::function<void()>& body);

// 0: threads in turn; else a random order drawn from the seed.
void set_schedule_seed(unsigned seed);

// Barriers, for `count` threads of the block.
using Site = std::source_location;
inline constexpr unsigned kNumBarriers = 16;
void sync_barrier(unsigned id, unsigned count, const Site& site);
void arrive_barrier(unsigned id, unsigned count, const Site& site);

// Warp collectives. Fragments are as in the PTX manual.
void sync_warp(const Site& site);
std::uint32_t shuffle_xor(std::uint32_t value, unsigned mask, const Site& site);
std::uint32_t shuffle(std::uint32_t value, unsigned lane, const Site& site);
std::uint32_t transpose_8x8(std::uint32_t row_pair, const Site& site);  // movmatrix
// `row`: the 16 bytes that this lane's address points to.
void load_matrices(std::uint32_t (&fragment)[4], const std::uint32_t (&row)[4], bool transposed,
                   const Site& site);
enum class HalfType { kBf16, kFp16 };
// d += a b, a [16, 16], b [16, 8]; products exact, sums in fp32 in the order of k.
void multiply_accumulate(HalfType type, float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                         std::uint32_t b1, const Site& site);

// At the end of a thread of a kernel that may start before the ones before it have ended: it must have
// waited.
void check_waited();

// An address that the hardware would refuse.
[[noreturn]] void misaligned(const char* what, const Site& site);

// Asynchronous copies. The hardware may write the destination at any moment from the issue to the wait: so it
// is filled with NaN at the one (by device.cuh) and written at the other.
struct AsyncCopy {
  void* to = nullptr;
  const void* from = nullptr;
  unsigned bytes = 0;
  bool zero_fill = false;
};
void issue_copy(const AsyncCopy& copy);
void commit_copies();
// Takes one copy of all groups but the last `keep`; false: none is left.
bool next_due_copy(unsigned keep, AsyncCopy& copy);

}  // namespace ttt::emulator
