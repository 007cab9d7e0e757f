// SPDX-License-Identifier: Apache-2.0
// Every set of kernels that this machine can run, in turn:
//   const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
#pragma once

#include <catch2/catch.hpp>
#include <string>

#include "cpu/dispatch.h"

namespace ttt::test {

class ForcedTarget {
 public:
  explicit ForcedTarget(const std::string& name) { cpu::choose_target(name); }
  ~ForcedTarget() { cpu::choose_target(""); }
  ForcedTarget(const ForcedTarget&) = delete;
  ForcedTarget& operator=(const ForcedTarget&) = delete;
};

}  // namespace ttt::test
