// SPDX-License-Identifier: Apache-2.0
#include "cpu/dispatch.h"

#include <cstdint>
#include <stdexcept>

#define TTT_WITH_VNNI
#include "cpu/simd_targets.h"

#include <hwy/highway.h>

namespace ttt::cpu {
namespace {

struct Target {
  std::int64_t bit;
  const char* name;
  std::int64_t next = 0;  // for files that are not compiled for it
};

// In Highway's order, the best first. Scalar code is there wherever it was compiled.
constexpr Target kTargets[] = {
#if HWY_ARCH_X86
    {HWY_AVX3_DL, "x86-64-avx512vnni", HWY_AVX3},
    {HWY_AVX3, "x86-64-avx512"},
    {HWY_AVX2, "x86-64-avx2"},
    {HWY_SSE4, "x86-64-sse4"},
    {HWY_SCALAR, "x86-64-scalar"},
    {HWY_EMU128, "x86-64-scalar"},
#else
    {HWY_NEON, "arm64-neon"},
    {HWY_SCALAR, "arm64-scalar"},
    {HWY_EMU128, "arm64-scalar"},
#endif
};

// What the machine has, whatever was chosen before. The static target is compiled for the baseline.
std::int64_t available() {
  static const std::int64_t targets = (HWY_SUPPORTED_TARGETS | HWY_STATIC_TARGET) & HWY_TARGETS;
  return targets;
}

std::int64_t chosen = 0;  // 0: not yet

}  // namespace

std::vector<std::string> cpu_targets() {
  std::vector<std::string> names;
  for (const Target& target : kTargets) {
    if ((available() & target.bit) != 0) names.emplace_back(target.name);
  }
  return names;
}

std::string dispatch_target() {
  for (const Target& target : kTargets) {
    if ((chosen == 0 ? available() & target.bit : chosen & target.bit) != 0) return target.name;
  }
  return "unknown";
}

void choose_target(std::string_view name) {
  std::string list;
  for (const Target& target : kTargets) {
    if ((available() & target.bit) == 0) continue;
    if (name.empty() || name == target.name) {
      chosen = target.bit;
      // Highway's table is read only where there is a choice, and arm64 has none.
      if constexpr ((HWY_TARGETS & (HWY_TARGETS - 1)) != 0)
        hwy::GetChosenTarget().Update(target.bit | target.next);
      return;
    }
    list += (list.empty() ? "" : ", ") + std::string(target.name);
  }
  throw std::invalid_argument("no kernels for '" + std::string(name) + "'; this machine has: " + list);
}

}  // namespace ttt::cpu
