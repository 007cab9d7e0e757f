// SPDX-License-Identifier: Apache-2.0
// GGUF version 3, the container of converted checkpoints: typed key-value metadata and tensors.
// Knows the container only; what the keys mean is engine/'s business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "weights/atomic_file.h"
#include "weights/mapped_file.h"
#include "weights/tensor.h"

namespace ttt::weights {

// A metadata value. Integers keep their width, so that a file is written back as it was read.
using GgufArray =
    std::variant<std::vector<std::uint8_t>, std::vector<std::int8_t>, std::vector<std::uint16_t>,
                 std::vector<std::int16_t>, std::vector<std::uint32_t>, std::vector<std::int32_t>,
                 std::vector<std::uint64_t>, std::vector<std::int64_t>, std::vector<float>,
                 std::vector<double>, std::vector<bool>, std::vector<std::string>>;
using GgufValue =
    std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t,
                 std::uint64_t, std::int64_t, float, double, bool, std::string, GgufArray>;
// Kept in file order.
using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

const GgufValue* find(const GgufMetadata& metadata, std::string_view key);  // null if absent

class GgufFile {
 public:
  // Maps (or reads) and checks the whole header. Throws CheckpointError. String values are passed on as
  // they are, UTF-8 or not; keys and tensor names are UTF-8. Tensors may lie in any order and with gaps, but
  // apart, and the file ends where the last one's padding does.
  static GgufFile open(const std::string& path, FileAccess access);
  // Checks a header that lies in memory; `bytes` must outlive the result. For tests and fuzzing.
  static GgufFile parse(std::span<const std::byte> bytes, std::string_view name);

  const std::string& path() const { return path_; }
  const GgufMetadata& metadata() const { return metadata_; }
  const std::vector<TensorView>& tensors() const { return tensors_; }         // in file order
  const TensorView* find_tensor(std::string_view name) const;                 // null if absent
  void release(std::span<const std::byte> part) const;                        // MappedFile::release
  bool read(std::span<const std::byte> part, std::span<std::byte> to) const;  // MappedFile::read
  std::uint64_t file_bytes() const { return file_bytes_; }

 private:
  GgufFile() = default;
  std::string path_;
  std::uint64_t file_bytes_ = 0;
  std::shared_ptr<const MappedFile> file_;  // null after parse()
  GgufMetadata metadata_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

struct GgufTensorInfo {
  std::string name;
  DType dtype;
  Shape shape;
};

// Writes a GGUF file in one pass: the header first, then the tensors' bytes in the order of the list.
// Nothing stands under `path` until commit().
class GgufWriter {
 public:
  // Throws std::system_error from AtomicFile, CheckpointError for a tensor or a value that GgufFile would
  // refuse to read. A "general.alignment" must be 32.
  GgufWriter(const std::string& path, const GgufMetadata& metadata, std::vector<GgufTensorInfo> tensors);
  // Bytes of the tensors one after another, in pieces of any length; padding is the writer's business.
  void write(std::span<const std::byte> bytes);
  // Replaces a string value by one of the same length (a hash that is known only at the end).
  void patch_string(std::string_view key, std::string_view value);
  // REQUIRES: every tensor's bytes were written. `check`: AtomicFile::commit.
  void commit(const std::function<void(const std::string& path)>& check = {});
  std::uint64_t file_bytes() const { return file_.size(); }

 private:
  void pad_to_alignment();
  AtomicFile file_;
  std::vector<GgufTensorInfo> tensors_;
  std::size_t current_tensor_ = 0;
  std::uint64_t written_in_tensor_ = 0;
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>, std::less<>>
      string_places_;  // offset, length
};

}  // namespace ttt::weights
