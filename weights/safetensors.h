// SPDX-License-Identifier: Apache-2.0
// The safetensors container: an eight-byte length, a JSON header, then the tensors without holes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/atomic_file.h"
#include "weights/mapped_file.h"
#include "weights/tensor.h"

namespace ttt::weights {

class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::string& path, FileAccess access);  // throws CheckpointError
  // `bytes` must outlive the result. For tests and fuzzing.
  static SafetensorsFile parse(std::span<const std::byte> bytes, std::string_view name);

  const std::string& path() const { return path_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }  // __metadata__
  const std::vector<TensorView>& tensors() const { return tensors_; }               // in data order
  const TensorView* find_tensor(std::string_view name) const;                       // null if absent
  void release(std::span<const std::byte> part) const;  // MappedFile::release; any part of any tensor
  bool read(std::span<const std::byte> part, std::span<std::byte> to) const;  // MappedFile::read
  std::uint64_t file_bytes() const { return file_bytes_; }

 private:
  SafetensorsFile() = default;
  std::string path_;
  std::uint64_t file_bytes_ = 0;
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, std::string> metadata_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

struct SafetensorsTensorInfo {
  std::string name;
  DType dtype;
  Shape shape;
};

// Writes a safetensors file in one pass; nothing stands under `path` until commit().
class SafetensorsWriter {
 public:
  // Throws std::system_error from AtomicFile, CheckpointError for a tensor or a value that SafetensorsFile
  // would refuse to read.
  SafetensorsWriter(const std::string& path, const std::vector<SafetensorsTensorInfo>& tensors,
                    const std::map<std::string, std::string>& metadata = {});
  void write(std::span<const std::byte> bytes);  // the tensors' bytes, one after another, any pieces
  void commit();                                 // REQUIRES: every tensor's bytes were written

 private:
  AtomicFile file_;
  std::uint64_t file_bytes_ = 0;  // of the complete file
};

}  // namespace ttt::weights
