// SPDX-License-Identifier: Apache-2.0
// Facts read from a made-up tree of system files.
#include "cli/machine.h"

#include <catch2/catch.hpp>

#include "tests/cli/fake_system.h"

namespace ttt::cli {
namespace {

using test::FakeSystem;

TEST_CASE("what the system files say arrives") {
  FakeSystem system;
  system.write_usual();
  const Machine machine = read_machine(system.root());
  CHECK(machine.processor == "Test Processor 9000");
  CHECK(machine.online == 2);
  CHECK(machine.affinity == 2U);
  CHECK(machine.simd == std::vector<std::string>{"avx2", "fma", "avx512f"});
  REQUIRE(machine.caches.size() == 2);
  CHECK(machine.caches[1].level == 3);
  CHECK(machine.caches[1].bytes == 32U << 20U);
  CHECK(machine.caches[1].shared_by == 5);
  CHECK(machine.governor == "powersave");
  CHECK(machine.memory_total == std::uint64_t{16'000'000} * 1024);
  CHECK(machine.memory_available == std::uint64_t{8'000'000} * 1024);
  CHECK(machine.swap_total == 0U);
  CHECK(machine.huge_pages == "madvise");
  CHECK(machine.overcommit == "never");
  CHECK(machine.lockable_memory == "unlimited");
  CHECK(machine.open_files == "1024");
  CHECK(machine.kernel == "6.1.0-test");
  CHECK(machine.distribution == "Testix 12 (bookworm)");
  CHECK(machine.containers == std::vector<std::string>{"docker"});
}

TEST_CASE("an empty tree tells nothing") {
  const FakeSystem system;
  const Machine machine = read_machine(system.root());
  CHECK_FALSE(machine.processor.empty());  // the architecture
  CHECK(machine.online == 0);
  CHECK(machine.affinity == std::nullopt);
  CHECK((machine.simd.empty() && machine.caches.empty() && machine.containers.empty()));
  CHECK((!machine.memory_total && !machine.memory_available && !machine.swap_total));
  CHECK((machine.governor + machine.huge_pages + machine.overcommit + machine.open_files).empty());
  CHECK((machine.kernel + machine.distribution).empty());
  CHECK(machine.cgroup.memory_max == std::nullopt);
}

TEST_CASE("garbage in system files is left out, or shown as one printable line") {
  FakeSystem system;
  const std::string noise = std::string("\x00\x1b[2J\xFF[:9-", 10) + std::string(100'000, 'A') + "\n\n:::\n";
  for (const char* path :
       {"proc/cpuinfo", "proc/self/status", "proc/meminfo", "proc/self/limits", "proc/self/cgroup",
        "proc/sys/kernel/osrelease", "proc/sys/vm/overcommit_memory", "etc/os-release",
        "sys/kernel/mm/transparent_hugepage/enabled", "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "sys/devices/system/cpu/cpu0/cache/index0/level", "sys/devices/system/cpu/cpu0/cache/index0/size",
        "sys/fs/cgroup/cpu.max", "sys/fs/cgroup/memory.max", "run/systemd/container"}) {
    system.write(path, noise);
  }
  const Machine machine = read_machine(system.root());
  CHECK(machine.online == 0);
  CHECK(machine.affinity == std::nullopt);
  CHECK(machine.caches.empty());
  CHECK(machine.memory_total == std::nullopt);
  CHECK(machine.open_files.empty());
  CHECK(machine.overcommit.empty());
  CHECK(machine.cgroup.memory_max == std::nullopt);
  CHECK(machine.kernel.size() < 120);
  CHECK(machine.kernel.starts_with("\\x00\\x1b[2J?"));
}

TEST_CASE("numbers beyond 64 bits are no numbers") {
  FakeSystem system;
  system.write(
      "proc/meminfo",
      "MemTotal: 99999999999999999999 kB\nMemAvailable: 18446744073709551615 kB\nSwapTotal: -1 kB\n");
  const Machine machine = read_machine(system.root());
  CHECK((!machine.memory_total && !machine.memory_available && !machine.swap_total));
}

TEST_CASE("of a control group's limit what is left can be had, its file cache included") {
  for (const bool unified : {true, false}) {
    FakeSystem system;
    const std::string folder = unified ? "sys/fs/cgroup/" : "sys/fs/cgroup/memory/";
    const auto usable = [&] { return usable_memory(read_machine(system.root())); };
    system.write("proc/meminfo", "MemAvailable: 2000 kB\n");
    CHECK(usable() == 2'048'000U);
    system.write(folder + (unified ? "memory.max" : "memory.limit_in_bytes"), "1000000\n");
    CHECK(usable() == 1'000'000U);
    system.write(folder + "memory.stat", "file 600000\nrss 1\nanon 300000\ntotal_rss 300000\n");
    CHECK(usable() == 700'000U);
    system.write(folder + "memory.stat", "anon 1000001\ntotal_rss 1000001\n");
    CHECK(usable() == 0U);
    system.write(folder + "memory.stat", "anon x\ntotal_rss\n");
    CHECK(usable() == 1'000'000U);
    system.write("proc/self/cgroup", "0::/inner\n1:memory:/inner\n");
    system.write(folder + (unified ? "inner/memory.max" : "inner/memory.limit_in_bytes"), "500000\n");
    system.write(folder + "memory.stat", "anon 300000\ntotal_rss 300000\n");
    CHECK(usable() == 500'000U);  // the limit is another group's
  }
}

TEST_CASE("a list of processors is counted") {
  CHECK(count_processor_list("0") == 1U);
  CHECK(count_processor_list("0-3,8") == 5U);
  for (const char* list : {"", "3-1", "x", "0-", "-1", "0,,1", "0-99999999999", "0-4294967296"}) {
    CAPTURE(list);
    CHECK(count_processor_list(list) == std::nullopt);
  }
}

TEST_CASE("a file system has a name, a path that is not there has none") {
  CHECK_FALSE(file_system_type("/").empty());
  CHECK(file_system_type("/no/such/path").empty());
}

}  // namespace
}  // namespace ttt::cli
