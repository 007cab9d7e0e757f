// SPDX-License-Identifier: Apache-2.0
// Tests of the tester: what a kernel does wrong is reported, with the place. Races and overruns are planted
// in planted_faults.cpp, because the sanitizers end a program that has them.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <vector>

#include "tests/cuda/run_kernel.h"
#include "tests/same_bits.h"

namespace ttt::cuda {

using Catch::Contains;

namespace {

// Written out of the checks, whose macros put everything on one line.
void leave_out_a_barrier() {
  if (threadIdx.x != 3) sync_block();
}
void leave_out_a_collective() {
  if (threadIdx.x < 31) shuffle(1.0F, 0);
}
void part_at_a_collective() {
  if (threadIdx.x < 16) {
    shuffle(1.0F, 0);
  } else {
    shuffle(1.0F, 0);
  }
}
void part_at_a_barrier() {
  if (threadIdx.x < 32) {
    sync_block();
  } else {
    sync_block();
  }
}

}  // namespace

TEST_CASE("a thread that leaves out a barrier is a deadlock, reported with the place") {
  CHECK_THROWS_WITH(test::run_block(64, 0, leave_out_a_barrier),
                    Contains("deadlock: 63 threads in barrier at emulator.cpp:20") && Contains("1 ended"));
}

TEST_CASE("a lane that leaves out a collective is a deadlock") {
  CHECK_THROWS_WITH(test::run_block(32, 0, leave_out_a_collective),
                    Contains("deadlock: 31 threads in shuffle at emulator.cpp:23"));
}

TEST_CASE("lanes in different collectives have diverged") {
  CHECK_THROWS_WITH(
      test::run_block(32, 0, part_at_a_collective),
      Contains(
          "warp 0 diverged: lane 16 in shuffle at emulator.cpp:29, others in shuffle at emulator.cpp:27"));
}

TEST_CASE("threads of a block in different barriers") {
  CHECK_THROWS_WITH(test::run_block(64, 0, part_at_a_barrier),
                    Contains("different barriers: emulator.cpp:34 and emulator.cpp:36"));
}

TEST_CASE("barriers for numbers of threads that cannot be") {
  CHECK_THROWS_WITH(test::run_block(64, 0, [] { sync_named(1, 40); }),
                    Contains("bad barrier 1 for 40 threads"));
  CHECK_THROWS_WITH(test::run_block(64, 0, [] { sync_named(16, 64); }), Contains("bad barrier 16"));
  CHECK_THROWS_WITH(test::run_block(64, 0, [] { sync_named(1, threadIdx.x < 32 ? 64 : 32); }),
                    Contains("is for 64 threads") && Contains("and for 32"));
  CHECK_THROWS_WITH(test::run_block(40, 0, [] {}), Contains("no multiple of the warp size"));
}

TEST_CASE("a misaligned address is refused as by the hardware") {
  CHECK_THROWS_WITH(test::run_block(32, 64,
                                    [] {
                                      TTT_DYNAMIC_SHARED(shared);
                                      std::uint32_t fragment[4];
                                      load_matrices(fragment, shared + 8);
                                    }),
                    Contains("misaligned address of load_matrices at emulator.cpp:"));
  alignas(16) float numbers[8] = {};
  CHECK_THROWS_WITH(test::run_block(32, 0, [&numbers] { load_global_16(numbers + 2); }),
                    Contains("misaligned address of load_global_16 at emulator.cpp:"));
  CHECK_THROWS_WITH(test::run_block(32, 0, [&numbers] { store_global_8(numbers + 1, {}); }),
                    Contains("misaligned address of store_global_8 at emulator.cpp:"));
}

TEST_CASE("after a fault the next kernel runs") {
  CHECK_THROWS(test::run_block(32, 0, [] {
    if (threadIdx.x == 0) sync_block();
  }));
  int sum = 0;
  test::run_block(32, 0, [&] {
    const float mine = shuffle_xor(1.0F, 1);
    if (threadIdx.x == 0) sum += static_cast<int>(mine);
  });
  CHECK(sum == 1);
}

TEST_CASE("a grid runs every block, and a seed changes the order of threads") {
  std::vector<unsigned> in_turn(6 * 32), random(6 * 32);
  const auto record = [](std::vector<unsigned>& order) {
    std::atomic<std::size_t> count = 0;
    emulator::run_grid("order", {.x = 3, .y = 2, .threads = 32}, [&] {
      order[count.fetch_add(1, std::memory_order_relaxed)] =
          blockIdx.y * 1000 + blockIdx.x * 100 + threadIdx.x;
    });
    REQUIRE(count == order.size());
  };
  record(in_turn);
  {
    const test::ThreadOrder seed(5);
    record(random);
  }
  CHECK(in_turn.front() == 0);
  CHECK(in_turn.back() == 1231);
  CHECK_FALSE(test::same_bits(random, in_turn));
  std::sort(random.begin(), random.end());
  std::sort(in_turn.begin(), in_turn.end());
  CHECK(test::same_bits(random, in_turn));
}

TEST_CASE("a thread of a kernel that starts early and does not wait is reported") {
  const auto early = [](unsigned waiting) {
    test::run_block(64, 0, [waiting] {
      if (threadIdx.x < waiting) wait_for_previous();
      emulator::check_waited();
    });
  };
  CHECK_NOTHROW(early(64));
  CHECK_THROWS_WITH(early(63), Contains("starts early and does not wait"));
  CHECK_THROWS_WITH(early(0), Contains("starts early and does not wait"));
}

}  // namespace ttt::cuda
