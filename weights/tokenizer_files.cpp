// SPDX-License-Identifier: Apache-2.0
#include "weights/tokenizer_files.h"

#include <filesystem>
#include <initializer_list>
#include <string_view>
#include <system_error>

#include "weights/foreign_file.h"
#include "weights/limits.h"
#include "weights/mapped_file.h"

namespace ttt::weights {
namespace {

namespace fs = std::filesystem;

TokenizerFile find_first(const std::string& folder, std::initializer_list<std::string_view> names,
                         std::uint64_t max_bytes) {
  for (const std::string_view name : names) {
    TokenizerFile file{.path = (fs::path(folder) / name).string(), .bytes = {}};
    std::error_code error;
    if (!fs::exists(file.path, error)) continue;
    file.bytes = read_small_file(file.path, max_bytes);
    refuse_stand_in(file.path, file.bytes);
    return file;
  }
  return {};
}

}  // namespace

TokenizerFiles find_tokenizer_files(const std::string& folder) {
  return {.tokenizer = find_first(folder, {"tokenizer.model", "tokenizer.json"}, limits::kMaxTokenizerBytes),
          .config = find_first(folder, {"tokenizer_config.json"}, limits::kMaxConfigBytes),
          .chat_template = find_first(folder, {"chat_template.jinja"}, limits::kMaxConfigBytes)};
}

}  // namespace ttt::weights
