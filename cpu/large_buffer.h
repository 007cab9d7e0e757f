// SPDX-License-Identifier: Apache-2.0
// Memory that is read from end to end: in large pages where it is large, which spares the walks through
// tables.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace ttt::cpu {

struct FreeBuffer {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};
using LargeBuffer = std::unique_ptr<std::byte[], FreeBuffer>;

// Begins at a cache line, or from 2 MiB on at a large page. Throws std::bad_alloc.
LargeBuffer allocate_large(std::size_t size);

}  // namespace ttt::cpu
