// SPDX-License-Identifier: Apache-2.0
// The order in which a block's threads run: chosen in the emulator, nobody's choice on a GPU.
#pragma once

#ifndef TTT_ON_DEVICE
#include <block_emulator.h>
#endif

namespace ttt::test {

// While it lives, threads run in this order; 0: in turn.
class ThreadOrder {
 public:
#ifdef TTT_ON_DEVICE
  explicit ThreadOrder(unsigned) {}
#else
  explicit ThreadOrder(unsigned seed) { emulator::set_schedule_seed(seed); }
  ~ThreadOrder() { emulator::set_schedule_seed(0); }
#endif
  ThreadOrder(const ThreadOrder&) = delete;
  ThreadOrder& operator=(const ThreadOrder&) = delete;
};

}  // namespace ttt::test
