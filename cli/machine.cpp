// SPDX-License-Identifier: Apache-2.0
#include "cli/machine.h"

#include <fmt/format.h>
#include <gnu/libc-version.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <set>
#include <sstream>
#include <utility>

#include "cli/readable.h"
#include "cpu/processors.h"
#include "tokenizer/utf8.h"

namespace ttt::cli {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20;  // /proc/cpuinfo of 256 processors is 400 kB
constexpr std::size_t kMaxShownBytes = 100;
constexpr int kMaxCaches = 16;

// As much of a file as a fact can need; empty if it cannot be read.
std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxFileBytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, file.gcount())));
  return text;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const std::size_t begin = std::min(text.find_first_not_of(kSpaces), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(kSpaces) + 1);
}

// What a stranger's file says, fit to be shown.
std::string shown(std::string_view text) {
  text = trimmed(text.substr(0, text.find('\n')));
  std::string line;
  while (!text.empty() && line.size() < kMaxShownBytes) {
    const std::size_t length = tokenizer::valid_character_length(text);
    line += length == 0 ? "?" : escaped(text.substr(0, length));
    text.remove_prefix(std::max<std::size_t>(1, length));
  }
  return line;
}

std::optional<std::uint64_t> parse_count(std::string_view text) {
  std::uint64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

// The text after "KEY:" at the beginning of a line; empty if there is none.
std::string_view field(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos && trimmed(line.substr(0, colon)) == key) {
      return trimmed(line.substr(colon + 1));
    }
  }
  return {};
}

// "16 kB" with kB of 1024 bytes, as /proc/meminfo writes it, or "32K" as sysfs does.
std::optional<std::uint64_t> parse_kilobytes(std::string_view text, std::string_view unit) {
  if (!text.ends_with(unit)) return std::nullopt;
  const auto count = parse_count(trimmed(text.substr(0, text.size() - unit.size())));
  if (!count || *count > UINT64_MAX / 1024) return std::nullopt;
  return *count * 1024;
}

// The features that kernels could use, in the order in which they are shown.
std::vector<std::string> simd_features(std::string_view cpuinfo) {
  constexpr std::array kNames = {
      "sse4_2",   "avx",      "avx2",     "fma",         "f16c",        "bmi2",        "avx_vnni", "avx512f",
      "avx512bw", "avx512vl", "avx512dq", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8",
      "amx_bf16", "asimd",    "asimdhp",  "asimddp",     "bf16",        "i8mm",        "sve",      "sve2"};
  std::string_view list = field(cpuinfo, "flags");
  if (list.empty()) list = field(cpuinfo, "Features");
  std::istringstream words{std::string(list)};
  std::set<std::string> present;
  for (std::string word; words >> word;) present.insert(word);
  std::vector<std::string> features;
  std::ranges::copy_if(kNames, std::back_inserter(features),
                       [&](const char* name) { return present.contains(name); });
  return features;
}

std::size_t count_online(std::string_view cpuinfo) {
  std::size_t count = 0;
  while (!cpuinfo.empty()) {
    const std::string_view line = cpuinfo.substr(0, cpuinfo.find('\n'));
    cpuinfo.remove_prefix(std::min(line.size() + 1, cpuinfo.size()));
    if (trimmed(line.substr(0, line.find(':'))) == "processor") ++count;
  }
  return count;
}

std::vector<Machine::Cache> read_caches(const std::string& root) {
  std::vector<Machine::Cache> caches;
  for (int index = 0; index < kMaxCaches; ++index) {
    const std::string folder = fmt::format("{}/sys/devices/system/cpu/cpu0/cache/index{}/", root, index);
    const auto level = parse_count(trimmed(read_text(folder + "level")));
    const auto bytes = parse_kilobytes(trimmed(read_text(folder + "size")), "K");
    if (!level || *level > 9 || !bytes) continue;
    caches.push_back({static_cast<int>(*level), shown(read_text(folder + "type")), *bytes,
                      count_processor_list(trimmed(read_text(folder + "shared_cpu_list"))).value_or(0)});
  }
  return caches;
}

// Of the group that a container sees as the root, if `limit` is its own: versions 2 and 1.
std::optional<std::uint64_t> cgroup_anonymous(const std::string& root, std::optional<std::uint64_t> limit) {
  constexpr struct {
    const char* folder;
    const char* limit;
    const char* key;
  } kVersions[] = {{"/sys/fs/cgroup/", "memory.max", "anon"},
                   {"/sys/fs/cgroup/memory/", "memory.limit_in_bytes", "total_rss"}};
  for (const auto& version : kVersions) {
    const std::string folder = root + version.folder;
    if (!limit || parse_count(trimmed(read_text(folder + version.limit))) != limit) continue;
    std::istringstream lines(read_text(folder + "memory.stat"));  // "anon 4096"
    for (std::string key, value; lines >> key >> value;) {
      if (key == version.key) return parse_count(value);
    }
  }
  return std::nullopt;
}

// "always [madvise] never": the word in brackets.
std::string bracketed(const std::string& text) {
  const std::size_t begin = text.find('[');
  const std::size_t end = text.find(']', std::min(begin, text.size()));
  return end == std::string::npos ? "" : shown(text.substr(begin + 1, end - begin - 1));
}

std::string overcommit(std::string_view mode) {
  if (mode == "0") return "heuristic";
  if (mode == "1") return "always";
  return mode == "2" ? "never" : "";
}

// The soft limit of a line "Max open files   1024   524288   files" of /proc/self/limits.
std::string soft_limit(std::string_view limits, std::string_view name) {
  const std::size_t begin = limits.find(name);
  if (begin == std::string_view::npos) return {};
  std::istringstream line{std::string(limits.substr(begin + name.size(), 80))};
  std::string word;
  line >> word;
  return word == "unlimited" || parse_count(word) ? word : "";
}

std::string distribution(const std::string& os_release) {
  std::istringstream lines(os_release);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("PRETTY_NAME=")) continue;
    std::string name = line.substr(line.find('=') + 1);
    std::erase(name, '"');
    return shown(name);
  }
  return {};
}

std::vector<std::string> container_hints(const std::string& root, const std::string& kernel) {
  std::vector<std::string> hints;
  const auto exists = [&](const char* path) { return std::ifstream(root + path).good(); };
  if (exists("/.dockerenv")) hints.emplace_back("docker");
  if (exists("/run/.containerenv")) hints.emplace_back("podman");
  if (exists("/var/run/secrets/kubernetes.io/serviceaccount/namespace")) hints.emplace_back("kubernetes");
  std::string manager = shown(read_text(root + "/run/systemd/container"));
  if (!manager.empty() && std::ranges::find(hints, manager) == hints.end())
    hints.push_back(std::move(manager));
  if (kernel.find("icrosoft") != std::string::npos) hints.emplace_back("wsl");
  return hints;
}

}  // namespace

std::optional<std::uint64_t> usable_memory(const Machine& machine) {
  std::optional<std::uint64_t> usable = machine.memory_available;
  if (const auto limit = machine.cgroup.memory_max) {
    const std::uint64_t left = *limit - std::min(*limit, machine.cgroup_anonymous.value_or(0));
    usable = std::min(usable.value_or(left), left);
  }
  return usable;
}

std::optional<std::size_t> count_processor_list(std::string_view list) {
  constexpr std::uint64_t kMaxProcessor = 1U << 20;
  std::size_t count = 0;
  while (!list.empty()) {
    const std::string_view range = list.substr(0, list.find(','));
    list.remove_prefix(std::min(range.size() + 1, list.size()));
    const std::size_t dash = range.find('-');
    const auto first = parse_count(range.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_count(range.substr(dash + 1));
    if (!first || !last || *last < *first || *last > kMaxProcessor) return std::nullopt;
    count += static_cast<std::size_t>(*last - *first) + 1;
  }
  return count == 0 ? std::nullopt : std::optional(count);
}

Machine read_machine(const std::string& root) {
  Machine machine;
  const std::string cpuinfo = read_text(root + "/proc/cpuinfo");
  machine.processor = shown(cpu::processor_name(root));
  machine.online = count_online(cpuinfo);
  machine.affinity = count_processor_list(field(read_text(root + "/proc/self/status"), "Cpus_allowed_list"));
  machine.simd = simd_features(cpuinfo);
  machine.caches = read_caches(root);
  machine.governor = shown(read_text(root + "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
  machine.cgroup = cpu::cgroup_limits(root);
  machine.cgroup_anonymous = cgroup_anonymous(root, machine.cgroup.memory_max);

  const std::string meminfo = read_text(root + "/proc/meminfo");
  machine.memory_total = parse_kilobytes(field(meminfo, "MemTotal"), "kB");
  machine.memory_available = parse_kilobytes(field(meminfo, "MemAvailable"), "kB");
  machine.swap_total = parse_kilobytes(field(meminfo, "SwapTotal"), "kB");
  machine.swap_free = parse_kilobytes(field(meminfo, "SwapFree"), "kB");
  machine.huge_pages = bracketed(read_text(root + "/sys/kernel/mm/transparent_hugepage/enabled"));
  machine.overcommit = overcommit(trimmed(read_text(root + "/proc/sys/vm/overcommit_memory")));
  const std::string limits = read_text(root + "/proc/self/limits");
  machine.lockable_memory = soft_limit(limits, "Max locked memory");
  machine.open_files = soft_limit(limits, "Max open files");

  machine.kernel = shown(read_text(root + "/proc/sys/kernel/osrelease"));
  machine.distribution = distribution(read_text(root + "/etc/os-release"));
  machine.libc = fmt::format("glibc {}", ::gnu_get_libc_version());
  machine.containers = container_hints(root, machine.kernel);
  return machine;
}

std::string file_system_type(const std::string& path) {
  struct statfs status = {};
  if (::statfs(path.c_str(), &status) != 0) return {};
  // From statfs(2).
  constexpr std::array<std::pair<std::uint32_t, const char*>, 16> kTypes = {{{0xEF53, "ext4"},
                                                                             {0x58465342, "xfs"},
                                                                             {0x9123683E, "btrfs"},
                                                                             {0x2FC12FC1, "zfs"},
                                                                             {0xF2F52010, "f2fs"},
                                                                             {0x01021994, "tmpfs"},
                                                                             {0x794C7630, "overlay"},
                                                                             {0x6969, "nfs"},
                                                                             {0xFF534D42, "cifs"},
                                                                             {0xFE534D42, "smb2"},
                                                                             {0x65735546, "fuse"},
                                                                             {0x01021997, "9p"},
                                                                             {0x00C36400, "ceph"},
                                                                             {0x0BD00BD0, "lustre"},
                                                                             {0x4D44, "vfat"},
                                                                             {0x5346544E, "ntfs"}}};
  const auto number = static_cast<std::uint32_t>(status.f_type);
  const auto it = std::ranges::find(kTypes, number, &std::pair<std::uint32_t, const char*>::first);
  return it != kTypes.end() ? it->second : fmt::format("type 0x{:x}", number);
}

}  // namespace ttt::cli
