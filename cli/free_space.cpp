// SPDX-License-Identifier: Apache-2.0
#include "cli/free_space.h"

#include <fmt/format.h>

#include <filesystem>
#include <stdexcept>
#include <system_error>

#include "cli/readable.h"

namespace ttt::cli {

namespace fs = std::filesystem;

void check_free_space(const std::string& output, std::uint64_t wanted) {
  fs::path path = fs::absolute(output);
  if (!path.has_filename()) path = path.parent_path();  // "folder/"
  const fs::path folder = path.parent_path();
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error || space.available >= wanted) return;  // the write itself will say
  throw std::runtime_error(fmt::format("{}: needs about {}, and {} has {} free; nothing was written", output,
                                       readable_bytes(wanted), folder.string(),
                                       readable_bytes(space.available)));
}

}  // namespace ttt::cli
