// SPDX-License-Identifier: Apache-2.0
// Floats that begin at a cache line, where they are many at a large page (large_buffer.h). Products store 16
// outputs, one line, at a time: in a buffer that begins elsewhere each store meets two lines, and where two
// threads' outputs meet both write the same one. With two threads that took products of 512 rows from 175
// down to 110 GFLOP/s.
#pragma once

#include <cstddef>
#include <vector>

#include "cpu/large_buffer.h"

namespace ttt::cpu {

template <class T>
struct CacheLineAllocator {
  using value_type = T;

  CacheLineAllocator() = default;
  template <class U>
  explicit CacheLineAllocator(const CacheLineAllocator<U>&) {}

  T* allocate(std::size_t count) { return reinterpret_cast<T*>(allocate_large(count * sizeof(T)).release()); }
  void deallocate(T* at, std::size_t) { FreeBuffer()(reinterpret_cast<std::byte*>(at)); }

  friend bool operator==(const CacheLineAllocator&, const CacheLineAllocator&) { return true; }
};

using AlignedFloats = std::vector<float, CacheLineAllocator<float>>;

}  // namespace ttt::cpu
