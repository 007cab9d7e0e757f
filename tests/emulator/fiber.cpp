// SPDX-License-Identifier: Apache-2.0
#include "tests/emulator/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

// Of the sanitizers' runtimes; null where the program is not linked with them.
extern "C" {
[[gnu::weak]] void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, std::size_t bytes);
[[gnu::weak]] void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, std::size_t* bytes);
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void* at, std::size_t bytes);
[[gnu::weak]] void* __tsan_create_fiber(unsigned flags);
[[gnu::weak]] void __tsan_destroy_fiber(void* fiber);
[[gnu::weak]] void __tsan_switch_to_fiber(void* fiber, unsigned flags);
[[gnu::weak]] void* __tsan_get_current_fiber();
[[gnu::weak]] void __tsan_acquire(void* tag);
[[gnu::weak]] void __tsan_release(void* tag);

// Saves the registers that a call preserves, then continues where the other stack was left. swapcontext would
// do the same with two system calls.
void ttt_emulator_switch(void** from, void* to);
}

#if defined(__x86_64__)
asm(R"(
.text
.globl ttt_emulator_switch
.type ttt_emulator_switch,@function
ttt_emulator_switch:
 pushq %rbp
 pushq %rbx
 pushq %r12
 pushq %r13
 pushq %r14
 pushq %r15
 movq %rsp,(%rdi)
 movq %rsi,%rsp
 popq %r15
 popq %r14
 popq %r13
 popq %r12
 popq %rbx
 popq %rbp
 ret
.size ttt_emulator_switch,.-ttt_emulator_switch
)");
#elif defined(__aarch64__)
asm(R"(
.text
.globl ttt_emulator_switch
.type ttt_emulator_switch,@function
ttt_emulator_switch:
 sub sp, sp, #160
 stp x19, x20, [sp]
 stp x21, x22, [sp, #16]
 stp x23, x24, [sp, #32]
 stp x25, x26, [sp, #48]
 stp x27, x28, [sp, #64]
 stp x29, x30, [sp, #80]
 stp d8, d9, [sp, #96]
 stp d10, d11, [sp, #112]
 stp d12, d13, [sp, #128]
 stp d14, d15, [sp, #144]
 mov x9, sp
 str x9, [x0]
 mov sp, x1
 ldp x19, x20, [sp]
 ldp x21, x22, [sp, #16]
 ldp x23, x24, [sp, #32]
 ldp x25, x26, [sp, #48]
 ldp x27, x28, [sp, #64]
 ldp x29, x30, [sp, #80]
 ldp d8, d9, [sp, #96]
 ldp d10, d11, [sp, #112]
 ldp d12, d13, [sp, #128]
 ldp d14, d15, [sp, #144]
 add sp, sp, #160
 ret
.size ttt_emulator_switch,.-ttt_emulator_switch
)");
#else
#error "no stack switch for this processor"
#endif

namespace ttt::emulator {

namespace {

void* make_stack(std::byte* memory, void (*entry)()) {
  void** top = reinterpret_cast<void**>(memory + StackPool::kStackBytes);
#if defined(__x86_64__)
  // What the switch pops: six registers and the address that it returns to. Above it the place of a return
  // address, which aligns the stack as a call does.
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
#else
  top -= 20;
  for (int saved = 0; saved < 20; ++saved) top[saved] = nullptr;
  top[11] = reinterpret_cast<void*>(entry);  // x30
#endif
  return top;
}

}  // namespace

// The address sanitizer's fake stacks stay: they can be freed from the stack that they belong to alone.
StackPool::~StackPool() {
  for (const std::unique_ptr<Slab>& slab : slabs_) {
    if (slab == nullptr) continue;
    for (const Kept& kept : slab->kept) {
      if (kept.tsan_fiber != nullptr) __tsan_destroy_fiber(kept.tsan_fiber);
    }
    munmap(slab->memory, kSlabStacks * kStackBytes);
  }
}

void StackPool::make(std::size_t index) {
  if (index >= kMaxSlabs * kSlabStacks) throw std::bad_alloc();
  std::unique_ptr<Slab>& slab = slabs_[index / kSlabStacks];
  if (slab == nullptr) {
    void* memory = mmap(nullptr, kSlabStacks * kStackBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    slab = std::make_unique<Slab>();
    slab->memory = static_cast<std::byte*>(memory);
  }
  Kept& kept = slab->kept[index % kSlabStacks];
  if (kept.tsan_fiber == nullptr && __tsan_create_fiber != nullptr) kept.tsan_fiber = __tsan_create_fiber(0);
}

Stack StackPool::take(std::size_t index, void (*entry)()) {
  const Slab& slab = *slabs_[index / kSlabStacks];
  const Kept& kept = slab.kept[index % kSlabStacks];
  std::byte* const memory = slab.memory + index % kSlabStacks * kStackBytes;
  return {.pointer = make_stack(memory, entry),
          .bottom = memory,
          .bytes = kStackBytes,
          .asan_fake_stack = kept.asan_fake_stack,
          .tsan_fiber = kept.tsan_fiber};
}

void StackPool::put_back(std::size_t index, const Stack& stack, bool done) {
  Slab& slab = *slabs_[index / kSlabStacks];
  Kept& kept = slab.kept[index % kSlabStacks];
  kept.asan_fake_stack = stack.asan_fake_stack;
  if (done) return;
  // Its frames leave their redzones behind, and the thread sanitizer's list of calls does not end.
  if (__asan_unpoison_memory_region != nullptr) {
    __asan_unpoison_memory_region(slab.memory + index % kSlabStacks * kStackBytes, kStackBytes);
  }
  if (kept.tsan_fiber != nullptr) __tsan_destroy_fiber(kept.tsan_fiber);
  kept.tsan_fiber = nullptr;
}

void switch_stacks(Stack& from, const Stack& to) {
  if (__sanitizer_start_switch_fiber != nullptr) {
    __sanitizer_start_switch_fiber(&from.asan_fake_stack, to.bottom, to.bytes);
  }
  constexpr unsigned kNoOrder = 1;
  if (__tsan_switch_to_fiber != nullptr) __tsan_switch_to_fiber(to.tsan_fiber, kNoOrder);
  ttt_emulator_switch(&from.pointer, to.pointer);
  if (__sanitizer_finish_switch_fiber != nullptr) {
    __sanitizer_finish_switch_fiber(from.asan_fake_stack, nullptr, nullptr);
  }
}

void arrive_on_new_stack(const Stack& me, Stack& from) {
  if (__sanitizer_finish_switch_fiber != nullptr) {
    __sanitizer_finish_switch_fiber(me.asan_fake_stack, &from.bottom, &from.bytes);
  }
}

void* current_tsan_fiber() {
  return __tsan_get_current_fiber != nullptr ? __tsan_get_current_fiber() : nullptr;
}

void acquire(void* tag) {
  if (__tsan_acquire != nullptr) __tsan_acquire(tag);
}

void release(void* tag) {
  if (__tsan_release != nullptr) __tsan_release(tag);
}

void release_for(void* fiber, void* tag) {
  if (__tsan_switch_to_fiber == nullptr) return;
  constexpr unsigned kNoOrder = 1;
  void* const me = current_tsan_fiber();
  __tsan_switch_to_fiber(fiber, kNoOrder);
  release(tag);
  __tsan_switch_to_fiber(me, kNoOrder);
}

}  // namespace ttt::emulator
