// SPDX-License-Identifier: Apache-2.0
// Which kernels ran: counted by the emulated runtime, and by nobody on a GPU.
#pragma once

#ifndef TTT_ON_DEVICE
#include <emulated_device.h>
#endif

#include <catch2/catch.hpp>
#include <map>
#include <string>

namespace ttt::test {

// Counts from its construction on.
class Launches {
 public:
#ifdef TTT_ON_DEVICE
  void check(const std::map<std::string, int>&) const {}
  void check_graphs(int, int) const {}
#else
  Launches() { emulator::reset_counters(); }

  // A template's instances count together; a kernel that is not named may have run any number of times.
  void check(const std::map<std::string, int>& wanted) const {
    std::map<std::string, int> found;
    for (const auto& [name, count] : emulator::counters().launches) {
      found[name.substr(0, name.find('<'))] += count;
    }
    for (const auto& [name, count] : wanted) {
      INFO(name);
      CHECK(found[name] == count);
    }
  }
  void check_graphs(int made, int launched) const {
    CHECK(emulator::counters().graphs_made == made);
    CHECK(emulator::counters().graph_launches == launched);
  }
#endif
};

}  // namespace ttt::test
