// SPDX-License-Identifier: Apache-2.0
#pragma once

#ifndef TTT_ON_DEVICE
#include <emulated_cublas_lt.h>
#endif

namespace ttt::test {

// While it lives, the machine has cuBLASLt. A real one has it or not.
class InstalledLibrary {
 public:
#ifdef TTT_ON_DEVICE
  InstalledLibrary() = default;
  ~InstalledLibrary() {}  // not trivial: an object of it counts as used
#else
  InstalledLibrary() { emulator::install_cublas_lt(true); }
  ~InstalledLibrary() {
    emulator::refuse_outputs(0);
    emulator::fail_cublas_lt(0);
    emulator::install_cublas_lt(false);
  }
#endif
  InstalledLibrary(const InstalledLibrary&) = delete;
  InstalledLibrary& operator=(const InstalledLibrary&) = delete;
};

}  // namespace ttt::test
