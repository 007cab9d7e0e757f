// SPDX-License-Identifier: Apache-2.0
#include "cpu/cgroup.h"

#include <catch2/catch.hpp>
#include <string>

#include "tests/cpu/fake_system.h"

namespace ttt::cpu {
namespace {

TEST_CASE("no files are no limits") {
  const FakeSystem system;
  const CgroupLimits limits = cgroup_limits(system.root);
  CHECK((!limits.processors && !limits.memory_max && !limits.memory_current));
}

TEST_CASE("version 2: the tightest of the group and those around it counts") {
  const FakeSystem system;
  system.write("proc/self/cgroup", "0::/outer/inner\n");
  system.write("sys/fs/cgroup/outer/cpu.max", "150000 100000\n");
  system.write("sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n");
  system.write("sys/fs/cgroup/outer/memory.max", "2147483648\n");
  system.write("sys/fs/cgroup/outer/memory.current", "1000\n");
  system.write("sys/fs/cgroup/outer/inner/memory.max", "4294967296\n");
  system.write("sys/fs/cgroup/outer/inner/memory.current", "2000\n");
  const CgroupLimits limits = cgroup_limits(system.root);
  CHECK(limits.processors == 1.5);
  CHECK(limits.memory_max == std::uint64_t{2} << 30);
  CHECK(limits.memory_current == 1000U);
}

TEST_CASE("version 2: a container sees its own group at the mount point, whatever its path is outside") {
  const FakeSystem system;
  SECTION("a path that is not mounted") { system.write("proc/self/cgroup", "0::/system/docker-1234\n"); }
  SECTION("a path outside of what is mounted") { system.write("proc/self/cgroup", "0::/../../other\n"); }
  SECTION("no path") {}
  system.write("sys/fs/cgroup/cpu.max", "50000 100000\n");
  system.write("sys/fs/cgroup/memory.max", "max\n");
  CHECK(cgroup_limits(system.root).processors == 0.5);
  CHECK(cgroup_limits(system.root).memory_max == std::nullopt);
}

TEST_CASE("version 1: each controller has its hierarchy") {
  const FakeSystem system;
  system.write("proc/self/cgroup", "12:memory:/job\n4:cpu,cpuacct:/job\n1:name=systemd:/x\n");
  system.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  system.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  system.write("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "300000\n");
  system.write("sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
  system.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  CHECK(cgroup_limits(system.root).memory_max == std::nullopt);
  system.write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1073741824\n");
  system.write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "12345\n");
  const CgroupLimits limits = cgroup_limits(system.root);
  CHECK(limits.processors == 3.0);
  CHECK(limits.memory_max == std::uint64_t{1} << 30);
  CHECK(limits.memory_current == 12345U);
}

TEST_CASE("garbage in the files is no limit") {
  const FakeSystem system;
  system.write("proc/self/cgroup", "nonsense\n0:\n::\n0::/a\n");
  for (const char* text : {"", "x 100000", "0 100000", "100000 0", "-5 100000", "1e999 1", "nan nan"}) {
    CAPTURE(text);
    system.write("sys/fs/cgroup/cpu.max", text);
    CHECK(cgroup_limits(system.root).processors == std::nullopt);
  }
  for (const char* text :
       {"", "max", "-1", "1.5", "0x10", "99999999999999999999", "99999999999999999999999", "lots"}) {
    CAPTURE(text);
    system.write("sys/fs/cgroup/memory.max", text);
    CHECK(cgroup_limits(system.root).memory_max == std::nullopt);
  }
}

}  // namespace
}  // namespace ttt::cpu
