// SPDX-License-Identifier: Apache-2.0
// The one exception for a file that cannot be used. Its text always says which file, what in it, what
// was wanted, what was found and what to do next.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace ttt::weights {

class CheckpointError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Refusal {
  std::string_view file;        // path as the user gave it
  std::string_view where = {};  // tensor name, metadata key, byte offset; empty: the file as a whole
  std::string_view wanted = {};
  std::string_view found = {};
  std::string_view remedy = {};  // a full sentence
};

// Throws CheckpointError: "file: where: wanted W, found F. remedy". Strings that come from the file are
// escaped (control characters, broken UTF-8) and cut to a printable length.
[[noreturn]] void refuse(const Refusal& refusal);

}  // namespace ttt::weights
