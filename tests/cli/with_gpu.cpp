// SPDX-License-Identifier: Apache-2.0
// What makes of cli/main.cpp a program with a GPU that fails: FAILING_KERNEL says at which kernel of the
// process.
#include <emulated_device.h>

#include <cstdlib>

namespace {

[[maybe_unused]] const bool is_planted = [] {
  const char* const number = std::getenv("FAILING_KERNEL");
  if (number != nullptr) ttt::emulator::fail_kernel(std::atoi(number));
  return number != nullptr;
}();

}  // namespace
