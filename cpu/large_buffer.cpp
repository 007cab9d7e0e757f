// SPDX-License-Identifier: Apache-2.0
#include "cpu/large_buffer.h"

#include <sys/mman.h>

#include <new>

namespace ttt::cpu {

LargeBuffer allocate_large(std::size_t size) {
  constexpr std::size_t kHugePage = std::size_t{1} << 21, kCacheLine = 64;
  const std::size_t alignment = size < kHugePage ? kCacheLine : kHugePage;
  const std::size_t whole = (size + alignment - 1) / alignment * alignment;
  LargeBuffer buffer(static_cast<std::byte*>(std::aligned_alloc(alignment, whole)));
  if (buffer == nullptr) throw std::bad_alloc();
  if (alignment == kHugePage) ::madvise(buffer.get(), size, MADV_HUGEPAGE);  // advice: it may be refused
  return buffer;
}

}  // namespace ttt::cpu
