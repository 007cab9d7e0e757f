// SPDX-License-Identifier: Apache-2.0
// Which set of kernels runs. Each is compiled once per target (simd_targets.h), and the best that this
// machine has is taken. The choice holds for the whole process.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ttt::cpu {

// Targets that were compiled and that this machine has, the best first: "x86-64-avx2", "arm64-neon".
std::vector<std::string> cpu_targets();

// The target whose kernels run.
std::string dispatch_target();

// Empty: the best one. Throws std::invalid_argument, with the list, for a target that is not in
// cpu_targets(). No kernel may be running.
void choose_target(std::string_view name);

}  // namespace ttt::cpu
