// SPDX-License-Identifier: Apache-2.0
// What makes of cli/main.cpp a program with a GPU: FAILING_KERNEL says at which kernel of the process it
// fails, GPU_CACHE_BYTES how large its L2 cache is.
#include <emulated_device.h>

#include <cstdlib>

namespace {

[[maybe_unused]] const bool is_planted = [] {
  const char* const number = std::getenv("FAILING_KERNEL");
  if (number != nullptr) ttt::emulator::fail_kernel(std::atoi(number));
  return number != nullptr;
}();

[[maybe_unused]] const bool has_other_cache = [] {
  const char* const bytes = std::getenv("GPU_CACHE_BYTES");
  if (bytes != nullptr) ttt::emulator::set_devices({{.cache_bytes = std::atoi(bytes)}});
  return bytes != nullptr;
}();

}  // namespace
