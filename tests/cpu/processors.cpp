// SPDX-License-Identifier: Apache-2.0
#include "cpu/processors.h"

#include <sched.h>

#include <catch2/catch.hpp>

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

TEST_CASE("the processor has a name") { CHECK_FALSE(processor_name().empty()); }
