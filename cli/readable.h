// SPDX-License-Identifier: Apache-2.0
// Numbers and strange strings as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ttt::cli {

std::string readable_bytes(std::uint64_t bytes);   // "12.8 MB"; powers of 1000, as disks are sold
std::string readable_memory(std::uint64_t bytes);  // "2.7 GiB"; powers of 1024, as memory is sold
std::string readable_count(std::uint64_t count);   // "2.62M"
std::string readable_seconds(double seconds);      // "0.42 s", "3 min 20 s"

// One line of printable text: control characters as \n, \t, \x1b; broken UTF-8 is left as it is.
std::string escaped(std::string_view text);

}  // namespace ttt::cli
