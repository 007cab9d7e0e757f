// SPDX-License-Identifier: Apache-2.0
// A kernel that is written inside a test: one block, or several.
#pragma once

#include <cuda_runtime.h>

#include <functional>

#include "cuda/kernels/device.cuh"
#include "tests/cuda/thread_order.h"

namespace ttt::test {

inline void run_block(unsigned threads, std::size_t shared_bytes, const std::function<void()>& body) {
  emulator::run_grid("a test's kernel", {.threads = threads, .shared_bytes = shared_bytes}, body);
}

}  // namespace ttt::test
