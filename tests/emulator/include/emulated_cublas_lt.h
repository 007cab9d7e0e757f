// SPDX-License-Identifier: Apache-2.0
// What a test sets of the emulated cuBLASLt.
#pragma once

#include <cstddef>

namespace ttt::emulator {

// Whether the machine has the library; it begins without.
void install_cublas_lt(bool installed);

// What it answers when it is created from now on.
void fail_cublas_lt(int status);

// It finds no algorithm for matrices with this many outputs; 0: it does them all.
void refuse_outputs(std::size_t outputs);

// It multiplies no matrix of so many outputs with so many rows, though it found an algorithm: 13.1 on an H200
// does that with one output and 33 rows. Two zeros: it does them all.
void refuse_product(std::size_t outputs, std::size_t rows);

}  // namespace ttt::emulator
