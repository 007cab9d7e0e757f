// SPDX-License-Identifier: Apache-2.0
// Whether the disk has room for what a command is about to write.
#pragma once

#include <cstdint>
#include <string>

namespace ttt::cli {

// Throws std::runtime_error naming `output` where the file system of its folder has less than `wanted` bytes
// free. A file system that does not say passes.
void check_free_space(const std::string& output, std::uint64_t wanted);

}  // namespace ttt::cli
