// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <emulated_cublas_lt.h>

namespace ttt::test {

// While it lives, the machine has cuBLASLt.
class InstalledLibrary {
 public:
  InstalledLibrary() { emulator::install_cublas_lt(true); }
  ~InstalledLibrary() {
    emulator::refuse_outputs(0);
    emulator::install_cublas_lt(false);
  }
  InstalledLibrary(const InstalledLibrary&) = delete;
  InstalledLibrary& operator=(const InstalledLibrary&) = delete;
};

}  // namespace ttt::test
