// SPDX-License-Identifier: Apache-2.0
// What the tests of weights/ share: temporary folders, files built byte by byte, and the checks that every
// accepted file must pass.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "weights/checkpoint_error.h"
#include "weights/gguf.h"
#include "weights/safetensors.h"

namespace ttt::weights {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "ttt-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

  std::string write(std::string_view name, std::string_view bytes) const {
    std::string path = *this / name;
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path;
  }
  std::set<std::string> names() const {
    std::set<std::string> result;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      result.insert(entry.path().filename().string());
    }
    return result;
  }

 private:
  std::string path_;
};

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// The text of the CheckpointError that a call throws; empty if it throws none.
template <typename Call>
std::string refusal_of(Call call) {
  try {
    call();
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return {};
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Little-endian bytes, remembering where each number that steers a reader stands.
class ByteBuilder {
 public:
  struct Field {
    std::string name;
    std::size_t offset;
    std::size_t width;
  };

  ByteBuilder& raw(std::string_view bytes) {
    bytes_ += bytes;
    return *this;
  }
  template <typename T>
  ByteBuilder& value(T number) {
    char buffer[sizeof(T)];
    std::memcpy(buffer, &number, sizeof(T));
    bytes_.append(buffer, sizeof(T));
    return *this;
  }
  template <typename T>
  ByteBuilder& field(std::string name, T number) {
    fields_.push_back({std::move(name), bytes_.size(), sizeof(T)});
    return value(number);
  }
  ByteBuilder& text(const std::string& name, std::string_view content) {
    return field(name + " length", static_cast<std::uint64_t>(content.size())).raw(content);
  }
  ByteBuilder& align(std::size_t alignment) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
    return *this;
  }

  const std::string& bytes() const { return bytes_; }
  const std::vector<Field>& fields() const { return fields_; }
  // A copy with another number in one field.
  std::string with(const Field& field, std::uint64_t number) const {
    std::string copy = bytes_;
    std::memcpy(copy.data() + field.offset, &number, field.width);
    return copy;
  }

 private:
  std::string bytes_;
  std::vector<Field> fields_;
};

// Boundary values for counts, lengths, extents and offsets; the last is the field's largest.
inline std::vector<std::uint64_t> hostile_numbers(std::size_t width) {
  std::vector<std::uint64_t> numbers = {0, 1, 0x7fffffffU, 0x80000000U, 0xffffffffU};
  if (width == 8)
    numbers.insert(numbers.end(), {1ULL << 32, 1ULL << 63, std::numeric_limits<std::uint64_t>::max()});
  return numbers;
}

// Numbers from here on can be no count, length, extent or offset of a file in these tests.
inline constexpr std::uint64_t kAbsurd = 0x7fffffffU;

// A valid file with every kind of field: 24 bytes of counts, metadata of scalars, strings and arrays, two
// tensors (F32 [2, 3] and Q8_0 [2, 32]). Its last 28 bytes are padding.
inline ByteBuilder sample_gguf() {
  ByteBuilder b;
  b.raw("GGUF").field("version", 3U);
  b.field("tensor count", std::uint64_t{2}).field("metadata count", std::uint64_t{5});
  b.text("key 0", "general.alignment").field("type 0", 4U).field("alignment", 32U);
  b.text("key 1", "name").field("type 1", 8U).text("string", "a model");
  b.text("key 2", "list")
      .field("type 2", 9U)
      .field("element type 2", 5U)
      .field("array length 2", std::uint64_t{3});
  b.value(-1).value(0).value(1);
  b.text("key 3", "words")
      .field("type 3", 9U)
      .field("element type 3", 8U)
      .field("array length 3", std::uint64_t{2});
  b.text("word 0", "").text("word 1", "\xe2\x96\x81the");
  b.text("key 4", "flag").field("type 4", 7U).value(std::uint8_t{1});
  b.text("name 0", "matrix").field("rank 0", 2U);
  b.field("extent 0.0", std::uint64_t{3}).field("extent 0.1", std::uint64_t{2});
  b.field("tensor type 0", 0U).field("offset 0", std::uint64_t{0});
  b.text("name 1", "blocks").field("rank 1", 2U);
  b.field("extent 1.0", std::uint64_t{32}).field("extent 1.1", std::uint64_t{2});
  b.field("tensor type 1", 8U).field("offset 1", std::uint64_t{32});
  b.align(32);
  for (int i = 0; i < 6; ++i) b.value(static_cast<float>(i));
  return b.align(32).raw(std::string(68, 'q')).align(32);
}

inline std::string safetensors_bytes(std::string_view json, std::string_view data) {
  return ByteBuilder().value(static_cast<std::uint64_t>(json.size())).raw(json).raw(data).bytes();
}

// Two tensors, a scalar and an empty one, with metadata.
inline std::string sample_safetensors() {
  constexpr std::string_view kJson = R"({"__metadata__":{"format":"pt"},)"
                                     R"("matrix":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                                     R"("scalar":{"dtype":"BF16","shape":[],"data_offsets":[24,26]},)"
                                     R"("nothing":{"dtype":"I64","shape":[0,5],"data_offsets":[26,26]}})";
  return safetensors_bytes(kJson, std::string(26, 'd'));
}

inline GgufFile parse_gguf(std::string_view bytes) { return GgufFile::parse(bytes_of(bytes), "test.gguf"); }
inline SafetensorsFile parse_safetensors(std::string_view bytes) {
  return SafetensorsFile::parse(bytes_of(bytes), "test.safetensors");
}

// What every accepted file keeps: each tensor has the bytes its shape asks for, inside the file, and together
// they are no more than the file.
template <typename File>
bool tensors_lie_inside(const File& file, std::string_view bytes) {
  const std::span<const std::byte> whole = bytes_of(bytes);
  std::uint64_t sum = 0;
  for (const TensorView& tensor : file.tensors()) {
    const auto size = tensor_bytes(tensor.dtype, tensor.shape);
    if (!size || *size != tensor.bytes.size()) return false;
    const auto begin = tensor.bytes.data() - whole.data();
    if (begin < 0 || static_cast<std::uint64_t>(begin) + *size > whole.size()) return false;
    sum += *size;
  }
  return sum <= whole.size();
}

}  // namespace ttt::weights
