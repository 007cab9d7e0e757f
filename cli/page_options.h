// SPDX-License-Identifier: Apache-2.0
// How the system keeps this process's memory: large pages or not, locked or not. Both hold for what is
// allocated afterwards, so for the weights and states of a backend that is made next.
#pragma once

#include <cstdint>

namespace ttt::cli {

// No transparent huge pages from now on, to see what they bring. Throws UsageError where the system refuses.
void avoid_huge_pages();

// What is allocated from now on never leaves memory once it was touched. A mapped model file is not part of
// it. Throws MemoryError where less than `bytes` may be locked.
void lock_memory(std::uint64_t bytes);

}  // namespace ttt::cli
