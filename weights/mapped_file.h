// SPDX-License-Identifier: Apache-2.0
// A whole file as read-only bytes: mapped, or read into memory, or mapped and read part by part.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "weights/file_reader.h"

namespace ttt::weights {

enum class FileAccess {
  kMap,
  kRead,       // all of it, when it is opened
  kReadParts,  // whoever wants a part reads it; bytes() are mapped, or where that is not possible read
};

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
  // Copies a part of bytes() to `to` as the file has it, without touching bytes(); false for bytes of another
  // file. Throws CheckpointError: the file changed since it was opened. REQUIRES: kReadParts; `to` is as
  // long.
  bool read(std::span<const std::byte> part, std::span<std::byte> to) const;

 private:
  bool holds(std::span<const std::byte> part) const;
  std::size_t offset_of(std::span<const std::byte> part) const;

  std::string path_;
  std::span<const std::byte> bytes_;
  bool mapped_ = false;
  std::unique_ptr<const FileReader> file_;  // of kReadParts
};

// The whole of a small file; throws CheckpointError if it is longer than max_bytes.
std::string read_small_file(const std::string& path, std::size_t max_bytes);

// The first max_bytes of a file, or all of a shorter one.
std::string read_prefix(const std::string& path, std::size_t max_bytes);

}  // namespace ttt::weights
