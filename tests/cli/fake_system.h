// SPDX-License-Identifier: Apache-2.0
// A made-up tree of /proc, /sys and /etc for what reads them through a root.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "tests/weights/fixtures.h"

namespace ttt::cli::test {

class FakeSystem {
 public:
  const std::string& root() const { return folder_.path(); }

  void write(const std::string& path, std::string_view text) const {
    std::filesystem::create_directories(std::filesystem::path(folder_ / path).parent_path());
    folder_.write(path, text);
  }

  // Two processors with AVX2, 16 GB, a container, some limits; no control group.
  void write_usual() const {
    write("proc/cpuinfo",
          "processor\t: 0\nmodel name\t: Test Processor 9000\nflags\t\t: fpu fma avx512f avx2 unheard_of\n\n"
          "processor\t: 1\nmodel name\t: Test Processor 9000\nflags\t\t: fpu fma\n");
    write("proc/self/status", "Name:\tttt\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1\n");
    write("proc/meminfo",
          "MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\nSwapTotal:  0 kB\nSwapFree:  0 kB\n");
    write("proc/self/limits",
          "Limit                     Soft Limit           Hard Limit           Units     \n"
          "Max open files            1024                 524288               files     \n"
          "Max locked memory         unlimited            unlimited            bytes     \n");
    write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    write("proc/sys/vm/overcommit_memory", "2\n");
    write("proc/sys/kernel/osrelease", "6.1.0-test\n");
    write("etc/os-release", "ID=testix\nPRETTY_NAME=\"Testix 12 (bookworm)\"\n");
    write(".dockerenv", "");
    const std::string cpu0 = "sys/devices/system/cpu/cpu0/";
    write(cpu0 + "cpufreq/scaling_governor", "powersave\n");
    write(cpu0 + "cache/index0/level", "1\n");
    write(cpu0 + "cache/index0/type", "Data\n");
    write(cpu0 + "cache/index0/size", "32K\n");
    write(cpu0 + "cache/index3/level", "3\n");
    write(cpu0 + "cache/index3/type", "Unified\n");
    write(cpu0 + "cache/index3/size", "32768K\n");
    write(cpu0 + "cache/index3/shared_cpu_list", "0-3,8\n");
  }

 private:
  weights::TemporaryFolder folder_;
};

}  // namespace ttt::cli::test
