// SPDX-License-Identifier: Apache-2.0
// What this process may use of the machine: processors and their name.
#pragma once

#include <cstddef>
#include <string>
#include <thread>

namespace ttt::cpu {

// Processors that the affinity mask and the cgroup quota allow, at least 1.
std::size_t available_processors();

// Ties a thread to the one processor `index` (modulo their number) of those that the affinity mask allows.
// Where the system refuses nothing changes.
void pin_thread(std::thread& thread, std::size_t index);

// "AMD EPYC 7B13", or the architecture where the system does not say. `root`
// stands before /proc, for tests.
std::string processor_name(const std::string& root = "");

}  // namespace ttt::cpu
