// SPDX-License-Identifier: Apache-2.0
#include "cpu/processors.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <thread>

#include "cpu/cgroup.h"

namespace ttt::cpu {
namespace {

constexpr double kMaxProcessors = 1e6;  // so that any quota fits an integer

std::size_t affinity_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return static_cast<std::size_t>(CPU_COUNT(&set));
  return std::max(1U, std::thread::hardware_concurrency());  // more than 1024 processors
}

// Parts of a processor count whole.
std::size_t quota_processors() {
  const auto quota = cgroup_limits().processors;
  return quota ? static_cast<std::size_t>(std::ceil(std::min(*quota, kMaxProcessors))) : SIZE_MAX;
}

}  // namespace

std::size_t available_processors() {
  return std::max<std::size_t>(1, std::min(affinity_processors(), quota_processors()));
}

void pin_thread(std::thread& thread, std::size_t index) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  index %= static_cast<std::size_t>(CPU_COUNT(&allowed));
  for (std::size_t processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (!CPU_ISSET(processor, &allowed) || index-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    pthread_setaffinity_np(thread.native_handle(), sizeof(one), &one);
    return;
  }
}

std::string processor_name(const std::string& root) {
  std::ifstream info(root + "/proc/cpuinfo");
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
