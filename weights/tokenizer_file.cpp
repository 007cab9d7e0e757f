// SPDX-License-Identifier: Apache-2.0
#include "weights/tokenizer_file.h"

#include <filesystem>
#include <string_view>
#include <system_error>

#include "weights/foreign_file.h"
#include "weights/limits.h"
#include "weights/mapped_file.h"

namespace ttt::weights {

namespace fs = std::filesystem;

TokenizerFile find_tokenizer_file(const std::string& folder) {
  for (const std::string_view name : {"tokenizer.model", "tokenizer.json"}) {
    TokenizerFile file{.path = (fs::path(folder) / name).string(), .bytes = {}};
    std::error_code error;
    if (!fs::exists(file.path, error)) continue;
    file.bytes = read_small_file(file.path, limits::kMaxTokenizerBytes);
    refuse_stand_in(file.path, file.bytes);
    return file;
  }
  return {};
}

}  // namespace ttt::weights
