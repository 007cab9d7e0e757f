// SPDX-License-Identifier: Apache-2.0
#include "cpu/dispatch.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <stdexcept>

#include "tests/cpu/forced_target.h"

using namespace ttt;
using Catch::Matchers::Contains;

TEST_CASE("the best target runs unless another is chosen") {
  const std::vector<std::string> targets = cpu::cpu_targets();
  REQUIRE_FALSE(targets.empty());
  cpu::choose_target("");
  CHECK(cpu::dispatch_target() == targets.front());
  {
    const test::ForcedTarget forced(targets.back());
    CHECK(cpu::dispatch_target() == targets.back());
    CHECK(cpu::cpu_targets() == targets);  // a choice does not hide the others
  }
  CHECK(cpu::dispatch_target() == targets.front());
}

TEST_CASE("a machine with AVX2 or AVX-512 runs kernels for it") {
#if defined(__x86_64__)
  const std::vector<std::string> targets = cpu::cpu_targets();
  const auto has = [&](const char* name) { return std::ranges::find(targets, name) != targets.end(); };
  CHECK(has("x86-64-avx2") ==
        (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")));
#ifndef TTT_FEW_TARGETS
  CHECK(has("x86-64-avx512") == (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                                 __builtin_cpu_supports("avx512cd")));
#endif
  CHECK(has("x86-64-scalar"));
#else
  CHECK(cpu::dispatch_target() == "arm64-neon");
#endif
}

TEST_CASE("a target that is not there is refused with those that are") {
  const std::string before = cpu::dispatch_target();
  CHECK_THROWS_WITH(cpu::choose_target("x86-64-mmx"),
                    Contains("'x86-64-mmx'") && Contains(cpu::cpu_targets().back()));
  CHECK_THROWS_AS(cpu::choose_target("avx"), std::invalid_argument);
  CHECK(cpu::dispatch_target() == before);
}
