// SPDX-License-Identifier: Apache-2.0
// What the control groups of this process allow (a container, a service): versions 1 and 2. The limits of the
// group and of all that contain it are read as far as they can be seen; the tightest counts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace ttt::cpu {

struct CgroupLimits {
  std::optional<double> processors;             // cpu.max, or cfs quota / period; 1.5 is one and a half
  std::optional<std::uint64_t> memory_max;      // bytes; memory.max, or memory.limit_in_bytes
  std::optional<std::uint64_t> memory_current;  // bytes in the group that memory_max is of, caches included
};

// `root` stands before /proc and /sys, for tests. Files that are missing or hold no number are no limit.
CgroupLimits cgroup_limits(const std::string& root = "");

}  // namespace ttt::cpu
