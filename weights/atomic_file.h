// SPDX-License-Identifier: Apache-2.0
// A file that appears whole or not at all: written to a temporary beside its place, synced, renamed, and
// the folder synced. A crash, a full disk or a kill leaves what stood there before.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "weights/temporary_name.h"

namespace ttt::weights {

// Called before each system call of AtomicFile with its name ("open", "chmod", "write", "fsync", "close",
// "open_directory", "rename", "fsync_directory"); a non-zero return is taken as that call failing with this
// errno. For tests only; an empty function removes it.
void set_atomic_file_fault(std::function<int(std::string_view call)> fault);

// Every member throws std::system_error naming the path and the call. After the first failure the temporary
// is gone and further calls fail too: a file that lost bytes cannot be committed. What stood under the path
// is untouched, with one exception: if "fsync_directory" fails, the new file stands there, whole, but a
// power cut may still bring the old one back.
class AtomicFile {
 public:
  // Creates the temporary (O_EXCL, no symlink followed). It has the mode of the file that it replaces, or
  // `mode` less the umask. A path that is a folder, pipe or device is refused: rename would replace it.
  explicit AtomicFile(std::string path, mode_t mode = 0644);
  ~AtomicFile();  // removes the temporary unless committed
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);  // append
  // Patches what was written. REQUIRES: offset + bytes.size() <= size().
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  std::uint64_t size() const { return size_; }
  // After this the file stands under its name; call once. `check`, if not empty, is called with the path of
  // the whole file before it gets its name: it is on the disk, and the system was asked to forget its pages.
  // What it throws discards the file.
  void commit(const std::function<void(const std::string& path)>& check = {});

 private:
  void write_all(std::uint64_t offset, std::span<const std::byte> bytes);
  void discard() noexcept;
  [[noreturn]] void fail(std::string_view call, int error);

  std::string path_;
  TemporaryName temporary_;
  int descriptor_ = -1;  // -1 after commit() and after a failure
  std::uint64_t size_ = 0;
};

}  // namespace ttt::weights
