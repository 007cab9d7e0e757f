// SPDX-License-Identifier: Apache-2.0
// The name of a temporary file or folder, known to the whole process while it stands on the disk: what ends
// at once, in a signal handler, can remove it all the same.
#pragma once

#include <string>

namespace ttt::weights {

class TemporaryName {
 public:
  TemporaryName() = default;
  ~TemporaryName() { clear(); }
  TemporaryName(const TemporaryName&) = delete;
  TemporaryName& operator=(const TemporaryName&) = delete;

  // REQUIRES: it is empty, and this process has just made what stands under `path`.
  void set(std::string path);
  void clear() noexcept;  // nothing stands there any more
  bool empty() const { return path_.empty(); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int entry_ = -1;  // in the process's table; -1: none
};

// Removes what stands under every name that is set, folders only where nothing else is in them; of more than
// 16 at once, those beyond stay. Async-signal-safe. For a process that ends right after: its temporaries
// cannot be committed.
void remove_temporaries() noexcept;

}  // namespace ttt::weights
