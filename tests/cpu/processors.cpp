// SPDX-License-Identifier: Apache-2.0
#include "cpu/processors.h"

#include <sched.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

#include "tests/cpu/fake_system.h"

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

TEST_CASE("a pinned thread has one processor") {
  REQUIRE_FALSE(allowed_processors().empty());
  for (const std::size_t processor : allowed_processors()) {
    CAPTURE(processor);
    std::atomic<bool> pinned = false;
    cpu_set_t seen;
    std::thread thread([&] {
      pinned.wait(false);
      sched_getaffinity(0, sizeof(seen), &seen);
    });
    pin_thread(thread, processor);
    pinned = true;
    pinned.notify_all();
    thread.join();
    CHECK(CPU_COUNT(&seen) == 1);
    CHECK(CPU_ISSET(processor, &seen));
  }
}

using Processors = std::vector<std::size_t>;

TEST_CASE("the memory nodes are those that have allowed processors") {
  const FakeSystem system;
  CHECK(memory_nodes({2, 5}, system.root) == MemoryNodes{{2, 5}});  // nothing is told
  CHECK(memory_nodes({}, system.root).empty());
  system.write("sys/devices/system/node/online", "0-1,3-4\n");
  system.write("sys/devices/system/node/node0/cpulist", "0-2,8-10\n");
  system.write("sys/devices/system/node/node1/cpulist", "\n");  // memory alone
  system.write("sys/devices/system/node/node3/cpulist", "3-5,11\n");
  CHECK(memory_nodes({0, 1, 2, 3, 4, 5, 8}, system.root) == MemoryNodes{{0, 1, 2, 8}, {3, 4, 5}});
  CHECK(memory_nodes({1, 2}, system.root) == MemoryNodes{{1, 2}});
  CHECK(memory_nodes({1, 4, 7}, system.root) == MemoryNodes{{1}, {4}, {7}});  // 7 is of no node
}

TEST_CASE("what is no list of processors is as if it were not there") {
  for (const char* list :
       {"x", "0-", "-3", "3-1", "1,1", "0,,1", "0;1", "5000", "0-99999999999999999999", "0 1"}) {
    CAPTURE(list);
    const FakeSystem system;
    system.write("sys/devices/system/node/online", "0");
    system.write("sys/devices/system/node/node0/cpulist", list);
    CHECK(memory_nodes({0, 1}, system.root) == MemoryNodes{{0, 1}});
    system.write("sys/devices/system/node/online", list);
    CHECK(memory_nodes({0, 1}, system.root) == MemoryNodes{{0, 1}});
  }
}

TEST_CASE("threads are spread over the nodes, on the first processors of each") {
  const MemoryNodes two = {{0, 1, 4, 5}, {2, 3, 6, 7}};
  CHECK(place_threads(two, 1) == Processors{0});
  CHECK(place_threads(two, 2) == Processors{0, 2});
  CHECK(place_threads(two, 4) == Processors{0, 1, 2, 3});
  CHECK(place_threads(two, 5) == Processors{0, 1, 4, 2, 3});
  CHECK(place_threads(two, 8) == Processors{0, 1, 4, 5, 2, 3, 6, 7});
  CHECK(place_threads({{0, 1}, {2}}, 6) == Processors{0, 1, 0, 1, 2, 2});  // by share
  CHECK(place_threads({{0, 1, 2}}, 2) == Processors{0, 1});
  CHECK(place_threads({}, 3).empty());
}

TEST_CASE("the processor has a name") { CHECK_FALSE(processor_name().empty()); }
