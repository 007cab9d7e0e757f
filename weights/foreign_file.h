// SPDX-License-Identifier: Apache-2.0
// Files that stand where a checkpoint should and are something else. Knows them by their first bytes, only to
// say what to do about them; reads none of them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace ttt::weights {

inline constexpr std::size_t kForeignPrefixBytes = 64;  // what the functions below need of a file's beginning

bool is_zip(std::string_view prefix);  // a zip archive, as torch.save writes since PyTorch 1.6

// Throws CheckpointError if the file is a stand-in for the real one: a Git LFS pointer, a web page, nothing.
void refuse_stand_in(const std::string& path, std::string_view prefix);

// Throws CheckpointError that says what the file is, and how to get from it to a checkpoint that opens.
[[noreturn]] void refuse_foreign_file(const std::string& path, std::string_view prefix);

}  // namespace ttt::weights
