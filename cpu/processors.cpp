// SPDX-License-Identifier: Apache-2.0
#include "cpu/processors.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>

namespace ttt::cpu {
namespace {

std::size_t affinity_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return static_cast<std::size_t>(CPU_COUNT(&set));
  return std::max(1U, std::thread::hardware_concurrency());  // more than 1024 processors
}

// A cpu.max file holds "QUOTA PERIOD" in microseconds, or "max PERIOD". Parts of a processor count whole.
std::size_t quota_processors(const std::string& path) {
  std::ifstream file(path);
  double quota = 0.0;
  double period = 0.0;
  if (!(file >> quota >> period) || quota <= 0.0 || period <= 0.0) return SIZE_MAX;
  return static_cast<std::size_t>(std::max(1.0, (quota + period - 1.0) / period));
}

// The tightest quota of this process's cgroup (version 2) and all that contain it.
std::size_t cgroup_processors() {
  std::ifstream membership("/proc/self/cgroup");
  std::string line;
  std::string path;
  while (std::getline(membership, line)) {
    if (line.starts_with("0::")) path = line.substr(3);
  }
  std::size_t limit = quota_processors("/sys/fs/cgroup/cpu.max");
  for (; path.size() > 1; path.resize(path.rfind('/'))) {
    limit = std::min(limit, quota_processors("/sys/fs/cgroup" + path + "/cpu.max"));
  }
  return limit;
}

}  // namespace

std::size_t available_processors() {
  return std::max<std::size_t>(1, std::min(affinity_processors(), cgroup_processors()));
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  while (std::getline(info, line)) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
#if defined(__aarch64__)
  return "arm64";
#else
  return "x86-64";
#endif
}

}  // namespace ttt::cpu
