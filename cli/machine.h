// SPDX-License-Identifier: Apache-2.0
// What the system says about the machine and about what this process may use of it: facts for `ttt doctor`,
// read from /proc, /sys and /etc. Nothing here computes or judges.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cpu/cgroup.h"

namespace ttt::cli {

struct Machine {
  struct Cache {
    int level = 0;
    std::string type;  // "Data", "Instruction", "Unified"
    std::uint64_t bytes = 0;
    std::size_t shared_by = 0;  // processors; 0: not told
  };

  // Empty strings and options: the system does not say.
  std::string processor;
  std::size_t online = 0;               // processors in /proc/cpuinfo; 0: not told
  std::optional<std::size_t> affinity;  // processors that this process may run on
  std::vector<std::string> simd;        // "avx2", "avx512f", ...: those that matter here
  std::vector<Cache> caches;            // of processor 0
  std::string governor;                 // "performance"
  cpu::CgroupLimits cgroup;
  // Bytes in the group of cgroup.memory_max that cannot be given up; where the mount shows that group.
  std::optional<std::uint64_t> cgroup_anonymous;

  std::optional<std::uint64_t> memory_total, memory_available, swap_total, swap_free;  // bytes
  std::string huge_pages;                   // transparent huge pages: "always", "madvise", "never"
  std::string overcommit;                   // "heuristic", "always", "never"
  std::string lockable_memory, open_files;  // soft limits: a number of bytes or files, or "unlimited"

  std::string kernel;                   // "6.1.0-18-amd64"
  std::string distribution;             // "Debian GNU/Linux 12 (bookworm)"
  std::string libc;                     // "glibc 2.36"
  std::vector<std::string> containers;  // hints: "docker", "wsl"
};

// `root` stands before every path, for tests. Files may be missing and may hold anything: what is shown is
// cut to a line of printable characters, what is no number is left out.
Machine read_machine(const std::string& root = "");

// What this process can have: the tightest of what is available and what the control group still
// allows. Files in the page cache do not count as used.
std::optional<std::uint64_t> usable_memory(const Machine& machine);

// "0-3,8": 5. Empty for anything else.
std::optional<std::size_t> count_processor_list(std::string_view list);

// Of the file system that `path` lies on: "ext4", "nfs", or its number where it is not known.
std::string file_system_type(const std::string& path);

}  // namespace ttt::cli
