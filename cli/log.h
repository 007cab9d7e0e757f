// SPDX-License-Identifier: Apache-2.0
// What the program does, on stderr, when asked with -v. Errors and warnings for the user are not log lines
// (standard_streams.h).
#pragma once

#include <string_view>

namespace ttt::cli {

void set_verbose(bool verbose);  // off at start
void log_info(std::string_view line);

}  // namespace ttt::cli
