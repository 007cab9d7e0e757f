// SPDX-License-Identifier: Apache-2.0
#include "cpu/processors.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

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

std::string read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "0-3,8", in order: 0, 1, 2, 3, 8. None of anything else, or beyond what an affinity mask can say.
std::vector<std::size_t> parse_list(std::string_view list) {
  std::vector<std::size_t> numbers;
  const auto take_number = [&] {
    std::size_t number = CPU_SETSIZE;
    const auto [stop, error] = std::from_chars(list.data(), list.data() + list.size(), number);
    list.remove_prefix(static_cast<std::size_t>(stop - list.data()));
    return error == std::errc() ? number : CPU_SETSIZE;
  };
  const auto take = [&](char character) {
    const bool is_next = list.starts_with(character);
    if (is_next) list.remove_prefix(1);
    return is_next;
  };
  while (!list.empty()) {
    const std::size_t first = take_number(), last = take('-') ? take_number() : first;
    const bool ascends = numbers.empty() || numbers.back() < first;
    if (!ascends || last < first || last >= CPU_SETSIZE || !(take(',') || list.empty())) return {};
    for (std::size_t number = first; number <= last; ++number) numbers.push_back(number);
  }
  return numbers;
}

}  // namespace

std::size_t available_processors() {
  return std::max<std::size_t>(1, std::min(affinity_processors(), quota_processors()));
}

std::vector<std::size_t> allowed_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<std::size_t> processors;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return processors;
  for (std::size_t processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (CPU_ISSET(processor, &set)) processors.push_back(processor);
  }
  return processors;
}

MemoryNodes memory_nodes(const std::vector<std::size_t>& allowed, const std::string& root) {
  const std::string folder = root + "/sys/devices/system/node/";
  MemoryNodes nodes;
  std::vector<std::size_t> rest = allowed;
  for (const std::size_t node : parse_list(read_line(folder + "online"))) {
    const auto all = parse_list(read_line(folder + "node" + std::to_string(node) + "/cpulist"));
    std::vector<std::size_t> own;
    const auto is_own = [&](std::size_t processor) { return std::ranges::binary_search(all, processor); };
    std::ranges::copy_if(rest, std::back_inserter(own), is_own);
    std::erase_if(rest, is_own);
    if (!own.empty()) nodes.push_back(std::move(own));
  }
  if (!rest.empty()) nodes.push_back(std::move(rest));
  return nodes;
}

std::vector<std::size_t> place_threads(const MemoryNodes& nodes, std::size_t num_threads) {
  std::size_t num_processors = 0;
  for (const auto& node : nodes) num_processors += node.size();
  std::vector<std::size_t> places;
  std::size_t end = 0;  // of the processors of the nodes so far
  for (const auto& node : nodes) {
    end += node.size();
    for (std::size_t i = 0; places.size() * num_processors < end * num_threads; ++i) {
      places.push_back(node[i % node.size()]);
    }
  }
  return places;
}

void pin_thread(std::thread& thread, std::size_t processor) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(processor, &one);
  pthread_setaffinity_np(thread.native_handle(), sizeof(one), &one);
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
