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
    for (const auto& [name, count] : wanted) {
      INFO(name);
      CHECK(of(name) == count);
    }
  }
  int of(const std::string& kernel) const {
    int sum = 0;
    for (const auto& [name, count] : runtime_calls().launches) {
      if (name.substr(0, name.find('<')) == kernel) sum += count;
    }
    return sum;
  }
  void check_graphs(int made, int launched) const {
    CHECK(runtime_calls().graphs_made == made);
    CHECK(runtime_calls().graph_launches == launched);
  }
};

}  // namespace ttt::test
