// SPDX-License-Identifier: Apache-2.0
#include "cpu/processors.h"

#include <sched.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

using namespace ttt::cpu;

TEST_CASE("the affinity mask limits the processors") {
  cpu_set_t before;
  CPU_ZERO(&before);
  REQUIRE(sched_getaffinity(0, sizeof(before), &before) == 0);
  CHECK(available_processors() <= static_cast<std::size_t>(CPU_COUNT(&before)));
  cpu_set_t one;
  CPU_ZERO(&one);
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &before)) continue;
    CPU_SET(cpu, &one);
    break;
  }
  REQUIRE(sched_setaffinity(0, sizeof(one), &one) == 0);
  CHECK(available_processors() == 1);
  sched_setaffinity(0, sizeof(before), &before);
}

TEST_CASE("a pinned thread has one processor, of those that are allowed") {
  for (const std::size_t index : {std::size_t{0}, std::size_t{1}, std::size_t{1000}}) {
    CAPTURE(index);
    std::atomic<bool> pinned = false;
    cpu_set_t seen;
    std::thread thread([&] {
      pinned.wait(false);
      sched_getaffinity(0, sizeof(seen), &seen);
    });
    pin_thread(thread, index);
    pinned = true;
    pinned.notify_all();
    thread.join();
    CHECK(CPU_COUNT(&seen) == 1);
  }
}

TEST_CASE("the processor has a name") { CHECK_FALSE(processor_name().empty()); }
