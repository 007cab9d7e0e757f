// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <catch2/catch.hpp>

#include "cuda/cublas_lt.h"

#ifndef TTT_ON_DEVICE
#include <emulated_cublas_lt.h>
#endif

namespace ttt::test {

#ifdef TTT_ON_DEVICE
void show_cublas_lt(bool shown);  // where there is one
#else
inline void show_cublas_lt(bool shown) { emulator::install_cublas_lt(shown); }
#endif

// Only while it lives does the program find cuBLASLt.
class InstalledLibrary {
 public:
  InstalledLibrary() { show_cublas_lt(true); }
  ~InstalledLibrary() {
#ifndef TTT_ON_DEVICE
    emulator::refuse_outputs(0);
    emulator::fail_cublas_lt(0);
#endif
    show_cublas_lt(false);
  }
  InstalledLibrary(const InstalledLibrary&) = delete;
  InstalledLibrary& operator=(const InstalledLibrary&) = delete;

  // False on a machine with a GPU and without the library, which is said.
  bool is_there() const {
    if (cuda::cublas_lt() != nullptr) return true;
    WARN("not run: no cuBLASLt on this machine");
    return false;
  }
};

}  // namespace ttt::test
