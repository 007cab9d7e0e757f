// SPDX-License-Identifier: Apache-2.0
#include "cpu/cgroup.h"

#include <algorithm>
#include <fstream>
#include <string_view>
#include <vector>

namespace ttt::cpu {
namespace {

// Version 1 says "none" as the largest multiple of a page; no machine has that much.
constexpr std::uint64_t kUnlimitedBytes = std::uint64_t{1} << 60;

std::optional<std::uint64_t> read_bytes(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  if (!(file >> word) || word.size() > 20 || word.find_first_not_of("0123456789") != std::string::npos) {
    return std::nullopt;  // "max", or no number
  }
  const std::uint64_t bytes = std::stoull(word.substr(0, 19));
  if (word.size() > 19 || bytes >= kUnlimitedBytes) return std::nullopt;
  return bytes;
}

// Both in microseconds; "max" and -1 are no quota.
std::optional<double> quota(std::istream& quota_file, std::istream& period_file) {
  double quota_us = 0.0;
  double period_us = 0.0;
  if (!(quota_file >> quota_us) || !(period_file >> period_us) || quota_us <= 0.0 || period_us <= 0.0) {
    return std::nullopt;
  }
  return quota_us / period_us;
}

std::optional<double> quota_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  return quota(file, file);
}

std::optional<double> quota_v1(const std::string& folder) {
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us");
  std::ifstream period_file(folder + "/cpu.cfs_period_us");
  return quota(quota_file, period_file);
}

// The mount point and, below it, the group of this process and all that contain it. A path that leads out of
// what is mounted here ("/../other") names nothing that can be read.
std::vector<std::string> folders(const std::string& mount, std::string group) {
  std::vector<std::string> result = {mount};
  if (!group.starts_with('/') || group.find("..") != std::string::npos) return result;
  for (; group.size() > 1; group.resize(group.rfind('/'))) result.push_back(mount + group);
  return result;
}

void tighten(CgroupLimits& limits, std::optional<double> processors) {
  if (processors) limits.processors = std::min(*processors, limits.processors.value_or(*processors));
}

void tighten(CgroupLimits& limits, std::optional<std::uint64_t> max, const std::string& current_path) {
  if (!max || (limits.memory_max && *limits.memory_max <= *max)) return;
  limits.memory_max = max;
  limits.memory_current = read_bytes(current_path);
}

bool has_controller(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    if (list.substr(0, comma) == name) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

// The group of this process, by hierarchy; "/" where the system does not say.
struct Membership {
  std::string unified = "/", cpu = "/", memory = "/";
};

Membership read_membership(const std::string& path) {
  Membership membership;
  std::ifstream file(path);
  std::string line;  // "0::/group" of version 2, "4:cpu,cpuacct:/group" of version 1
  while (std::getline(file, line)) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) membership.unified = group;
    if (has_controller(controllers, "cpu")) membership.cpu = group;
    if (has_controller(controllers, "memory")) membership.memory = group;
  }
  return membership;
}

}  // namespace

CgroupLimits cgroup_limits(const std::string& root) {
  const std::string mount = root + "/sys/fs/cgroup";
  const Membership membership = read_membership(root + "/proc/self/cgroup");
  CgroupLimits limits;
  for (const std::string& folder : folders(mount, membership.unified)) {
    tighten(limits, quota_v2(folder));
    tighten(limits, read_bytes(folder + "/memory.max"), folder + "/memory.current");
  }
  for (const std::string& folder : folders(mount + "/cpu", membership.cpu)) {
    tighten(limits, quota_v1(folder));
  }
  for (const std::string& folder : folders(mount + "/memory", membership.memory)) {
    tighten(limits, read_bytes(folder + "/memory.limit_in_bytes"), folder + "/memory.usage_in_bytes");
  }
  return limits;
}

}  // namespace ttt::cpu
