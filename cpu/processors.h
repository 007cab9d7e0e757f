// SPDX-License-Identifier: Apache-2.0
// What this process may use of the machine: processors and their name.
#pragma once

#include <cstddef>
#include <string>
#include <thread>
#include <vector>

namespace ttt::cpu {

// Processors that the affinity mask and the cgroup quota allow, at least 1.
std::size_t available_processors();

// The numbers of those that the affinity mask allows; none where the system does not say.
std::vector<std::size_t> allowed_processors();

// The processors of each memory node that has some of `allowed`, which are all there once; one node of all
// where the system does not say. `root` stands before /sys, for tests.
using MemoryNodes = std::vector<std::vector<std::size_t>>;
MemoryNodes memory_nodes(const std::vector<std::size_t>& allowed, const std::string& root = "");

// The processor of each thread: every node gets threads by its share of the processors, neighbours among the
// threads share a node, and each has a processor of its own, the first ones of its node (those behind are
// often the same cores again), as far as there are enough. Empty where there are no nodes.
std::vector<std::size_t> place_threads(const MemoryNodes& nodes, std::size_t num_threads);

// Ties a thread to one processor. Where the system refuses nothing changes.
void pin_thread(std::thread& thread, std::size_t processor);

// "AMD EPYC 7B13", or the architecture where the system does not say. `root`
// stands before /proc, for tests.
std::string processor_name(const std::string& root = "");

}  // namespace ttt::cpu
