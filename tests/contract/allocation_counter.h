// SPDX-License-Identifier: Apache-2.0
// Counts what the whole program allocates: allocation_counter.cpp replaces the global operator new.
#pragma once

#include <cstdint>

namespace ttt::contract {

// Calls of operator new so far, in all threads.
std::uint64_t allocation_count();

}  // namespace ttt::contract
