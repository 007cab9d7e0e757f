// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <catch2/catch.hpp>
#include <cstddef>

#include "cuda/cublas_lt.h"
#include "cuda/library_products.h"

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
    emulator::refuse_product(0, 0);
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

  // From now on it multiplies no matrix of one output, which the rates of one head are, with so many
  // rows: 13.1 on an H200 does not with 33. A real library does as it does.
  void refuse_one_output([[maybe_unused]] std::size_t rows) {
#ifndef TTT_ON_DEVICE
    emulator::refuse_product(1, rows);
    refused_rows_ = rows;
#endif
  }

  // Of `products` of one output with so many rows, `refused` were left to the own kernels.
  void check_refused(int refused, std::size_t rows, int products) const {
#ifdef TTT_ON_DEVICE
    CHECK(refused <= (rows < cuda::kLeastLibraryRows ? 0 : products));
#else
    CHECK(refused == (rows == refused_rows_ ? products : 0));
#endif
  }

 private:
  std::size_t refused_rows_ = 0;
};

}  // namespace ttt::test
