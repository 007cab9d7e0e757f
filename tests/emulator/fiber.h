// SPDX-License-Identifier: Apache-2.0
// Switches between stacks of one CPU thread, and tells the sanitizers. Sources that include this are compiled
// without the thread sanitizer, which must not see a function entered on one fiber and left on another.
#pragma once

#include <cstddef>

namespace ttt::emulator {

// A stack that something runs on: a fiber's, or the scheduler's own.
struct Stack {
  void* pointer = nullptr;  // where it was left
  const void* bottom = nullptr;
  std::size_t bytes = 0;
  void* asan_fake_stack = nullptr;
  void* tsan_fiber = nullptr;
};

// Memory of fiber stacks, kept by the CPU thread for later fibers.
class StackPool {
 public:
  static constexpr std::size_t kStackBytes = 128 << 10;

  StackPool() = default;
  ~StackPool();
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  // The memory of stack `index`, made on first use.
  std::byte* stack(std::size_t index);
  // Fibers that were left in the middle leave their frames' redzones behind.
  void forget_frames();

 private:
  static constexpr std::size_t kSlabStacks = 64;
  static constexpr std::size_t kMaxSlabs = 64;
  std::byte* slabs_[kMaxSlabs] = {};
};

// Prepares a stack on which `entry` starts at the first switch to it. `entry` must not return.
Stack new_stack(std::byte* memory, void (*entry)());
void switch_stacks(Stack& from, const Stack& to, bool from_is_done);
// The first thing on a new stack; `from`: the stack that switched to it.
void arrive_on_new_stack(Stack& from);

// The order that the thread sanitizer shall know of. Without it they do nothing.
void* create_tsan_fiber();
void destroy_tsan_fiber(void* fiber);
void* current_tsan_fiber();
void acquire(void* tag);
void release(void* tag);
// As if that fiber, which will not run again, released the tag.
void release_for(void* fiber, void* tag);

}  // namespace ttt::emulator
