// SPDX-License-Identifier: Apache-2.0
// What this binary was built from and with, for `ttt version` and bug reports. The values are written at
// build time from build_info.cpp.in; nothing here says what the machine can do.
#pragma once

#include <string_view>

namespace ttt::cli {

struct BuildInfo {
  std::string_view version;     // "0.1.0"
  std::string_view commit;      // "1a2b3c4", "1a2b3c4+dirty" with changes not committed, or "unknown"
  std::string_view compiler;    // "GNU 12.2.0"
  std::string_view build_type;  // "Release"
  std::string_view sanitizers;  // "address,undefined"; empty for none
};

const BuildInfo& build_info();

}  // namespace ttt::cli
