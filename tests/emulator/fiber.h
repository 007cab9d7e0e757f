// SPDX-License-Identifier: Apache-2.0
// Switches between stacks of one CPU thread, and tells the sanitizers. Sources that include this are compiled
// without the thread sanitizer, which must not see a function entered on one fiber and left on another.
#pragma once

#include <cstddef>
#include <memory>

namespace ttt::emulator {

// A stack that something runs on: a fiber's, or the scheduler's own.
struct Stack {
  void* pointer = nullptr;  // where it was left
  const void* bottom = nullptr;
  std::size_t bytes = 0;
  void* asan_fake_stack = nullptr;
  void* tsan_fiber = nullptr;
};

// Memory of fiber stacks, kept by the CPU thread for later fibers, with what the sanitizers keep of each:
// making that anew for every thread of every block takes them most of their time.
class StackPool {
 public:
  static constexpr std::size_t kStackBytes = 128 << 10;

  StackPool() = default;
  ~StackPool();
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  // Sees to it that there is a stack `index`. To the thread sanitizer all that was done before comes before
  // all that runs on a new stack: so stacks of blocks that are not in order are made before the first of them
  // runs.
  void make(std::size_t index);
  // Stack `index`, on which `entry` starts at the first switch to it. `entry` must not return.
  Stack take(std::size_t index, void (*entry)());
  // After take(). `done`: the fiber came to its end, it was not left in the middle.
  void put_back(std::size_t index, const Stack& stack, bool done);

 private:
  static constexpr std::size_t kSlabStacks = 64;
  static constexpr std::size_t kMaxSlabs = 64;
  struct Kept {
    void* asan_fake_stack = nullptr;
    void* tsan_fiber = nullptr;
  };
  struct Slab {
    std::byte* memory = nullptr;
    Kept kept[kSlabStacks];
  };
  std::unique_ptr<Slab> slabs_[kMaxSlabs];
};

void switch_stacks(Stack& from, const Stack& to);
// The first thing on a new stack; `from`: the stack that switched to it.
void arrive_on_new_stack(const Stack& me, Stack& from);

// The order that the thread sanitizer shall know of. Without it they do nothing.
void* current_tsan_fiber();
void acquire(void* tag);
void release(void* tag);
// As if that fiber, which will not run again, released the tag.
void release_for(void* fiber, void* tag);

}  // namespace ttt::emulator
