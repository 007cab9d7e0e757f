// SPDX-License-Identifier: Apache-2.0
// A regular file that is read at given places and never mapped: what a checkpoint from a stranger is read
// with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <span>
#include <string>

namespace ttt::weights {

class FileReader {
 public:
  explicit FileReader(std::string path);  // throws CheckpointError: missing, not a regular file, unreadable
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }  // when it was opened
  int descriptor() const { return descriptor_; }
  // Whether size and time of the last change are those that it had when it was opened.
  bool is_unchanged() const;

  // Reads until `to` is full or the file ends; returns the number of bytes. Throws CheckpointError. Any
  // thread.
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> to) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  timespec modified_ = {};
};

}  // namespace ttt::weights
