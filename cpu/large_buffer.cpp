// SPDX-License-Identifier: Apache-2.0
#include "cpu/large_buffer.h"

#include <sys/mman.h>

#include <new>

namespace ttt::cpu {
namespace {

constexpr std::size_t kCacheLine = 64, kHugePage = std::size_t{1} << 21;

std::size_t alignment_of(std::size_t size) { return size < kHugePage / 2 ? kCacheLine : kHugePage; }

}  // namespace

std::size_t large_buffer_bytes(std::size_t size) {
  const std::size_t alignment = alignment_of(size);
  return (size + alignment - 1) / alignment * alignment;
}

LargeBuffer allocate_large(std::size_t size) {
  const std::size_t alignment = alignment_of(size), whole = large_buffer_bytes(size);
  LargeBuffer buffer(static_cast<std::byte*>(std::aligned_alloc(alignment, whole)));
  if (buffer == nullptr) throw std::bad_alloc();
  if (alignment == kHugePage) ::madvise(buffer.get(), whole, MADV_HUGEPAGE);  // advice: it may be refused
  return buffer;
}

}  // namespace ttt::cpu
