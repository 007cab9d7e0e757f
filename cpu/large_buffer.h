// SPDX-License-Identifier: Apache-2.0
// Memory of weights, states and scratch: in large pages where it is large, which spares walks through tables
// (docs/decisions/0009-packed-weights.md has what it brings).
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace ttt::cpu {

struct FreeBuffer {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};
using LargeBuffer = std::unique_ptr<std::byte[], FreeBuffer>;

// Begins at a cache line, or from 1 MiB on at a large page of 2 MiB. Throws std::bad_alloc.
LargeBuffer allocate_large(std::size_t size);
// Bytes that such a buffer takes: whole lines, or whole large pages.
std::size_t large_buffer_bytes(std::size_t size);

}  // namespace ttt::cpu
