// SPDX-License-Identifier: Apache-2.0
// A whole file as read-only bytes: mapped, or read into memory.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace ttt::weights {

enum class FileAccess { kMap, kRead };

class MappedFile {
 public:
  // Throws CheckpointError: missing, not a regular file, empty, unreadable.
  MappedFile(std::string path, FileAccess access);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;  // leaves the other without bytes
  MappedFile& operator=(MappedFile&&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  // Tells the system that these bytes will not be read again soon, so that reading a large file once does not
  // fill memory. Never changes contents; does nothing for a file that was read, or for bytes of another file.
  void release(std::span<const std::byte> part) const;

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
  bool mapped_ = false;
};

// The whole of a small file; throws CheckpointError if it is longer than max_bytes.
std::string read_small_file(const std::string& path, std::size_t max_bytes);

// The first max_bytes of a file, or all of a shorter one.
std::string read_prefix(const std::string& path, std::size_t max_bytes);

}  // namespace ttt::weights
