// SPDX-License-Identifier: Apache-2.0
// A folder that appears whole or not at all: filled under another name beside its place, then renamed.
#pragma once

#include <string>
#include <string_view>

#include "weights/temporary_name.h"

namespace ttt::weights {

class AtomicFolder {
 public:
  // Creates the temporary, `.ttt-<process>-<number>.tmp` beside `path`. Throws std::system_error, also where
  // something other than an empty folder stands at `path`.
  explicit AtomicFolder(std::string path);
  ~AtomicFolder();  // removes the temporary with all that is in it, unless committed
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  std::string file(std::string_view name) const;  // where a file is to be written, by AtomicFile
  // Gives the folder its name. Throws std::system_error, also where `path` was filled meanwhile; then the
  // temporary is gone.
  void commit();

 private:
  std::string path_;         // without slashes at the end
  TemporaryName temporary_;  // empty after commit()
};

}  // namespace ttt::weights
