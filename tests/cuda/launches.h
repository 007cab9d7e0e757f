// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <catch2/catch.hpp>
#include <map>
#include <string>

#include "tests/runtime_calls.h"

namespace ttt::test {

// Which kernels ran since its construction.
class Launches {
 public:
  Launches() { reset_runtime_calls(); }

  // A template's instances count together; a kernel that is not named may have run any number of times.
  void check(const std::map<std::string, int>& wanted) const {
    std::map<std::string, int> found;
    for (const auto& [name, count] : runtime_calls().launches) {
      found[name.substr(0, name.find('<'))] += count;
    }
    for (const auto& [name, count] : wanted) {
      INFO(name);
      CHECK(found[name] == count);
    }
  }
  void check_graphs(int made, int launched) const {
    CHECK(runtime_calls().graphs_made == made);
    CHECK(runtime_calls().graph_launches == launched);
  }
};

}  // namespace ttt::test
