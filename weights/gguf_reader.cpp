// SPDX-License-Identifier: Apache-2.0
// Reads and checks a GGUF header. Memory is taken only for what was seen to lie in the file.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "weights/checked.h"
#include "weights/checkpoint_error.h"
#include "weights/gguf.h"
#include "weights/gguf_format.h"
#include "weights/limits.h"
#include "weights/utf8.h"

namespace ttt::weights {
namespace {

constexpr std::string_view kGgufRemedy = "The file is damaged or incomplete: download or convert it again.";
constexpr std::uint64_t kMinMetadataBytes = 8 + 1 + 4 + 1;        // key length, key, type, value
constexpr std::uint64_t kMinTensorInfoBytes = 8 + 1 + 4 + 4 + 8;  // name length, name, rank, type, offset

// Takes the header apart from front to back; every read is checked against the bytes that are left.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string_view file) : bytes_(bytes), file_(file) {}

  std::uint64_t position() const { return position_; }
  std::uint64_t left() const { return bytes_.size() - position_; }

  // What is being read, for messages: "tensor", its name.
  void enter(std::string_view kind, std::string_view name = {}) {
    kind_ = kind;
    name_ = name;
  }

  [[noreturn]] void fail(std::string_view wanted, std::string_view found,
                         std::string_view remedy = kGgufRemedy) const {
    const std::string place = name_.empty() ? fmt::format("{} (byte {})", kind_, position_)
                                            : fmt::format("{} '{}' (byte {})", kind_, name_, position_);
    refuse({.file = file_, .where = place, .wanted = wanted, .found = found, .remedy = remedy});
  }

  void need(std::uint64_t size, std::string_view what) const {
    if (size > left())
      fail(fmt::format("{} of {} bytes", what, size),
           fmt::format("{} bytes before the end of the file", left()));
  }

  template <typename T>
  T number(std::string_view what) {
    need(sizeof(T), what);
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  std::string_view text(std::uint64_t max_bytes, std::string_view what) {
    const auto length = number<std::uint64_t>(what);
    if (length > max_bytes)
      fail(fmt::format("{} of at most {} bytes", what, max_bytes), fmt::format("{}", length));
    need(length, what);
    const std::string_view view(reinterpret_cast<const char*>(bytes_.data() + position_), length);
    position_ += length;
    return view;
  }

  std::string_view name(std::uint64_t max_bytes, std::string_view what) {
    const std::string_view view = text(max_bytes, what);
    if (view.empty() || !is_utf8(view))
      fail(fmt::format("{} in UTF-8", what), view.empty() ? "an empty one" : view);
    return view;
  }

  bool boolean() {
    const auto value = number<std::uint8_t>("a boolean");
    if (value > 1) fail("a boolean, 0 or 1", fmt::format("{}", value));
    return value == 1;
  }

  template <typename T>
  std::vector<T> numbers(std::uint64_t count) {
    need(count * sizeof(T), "an array");  // count <= kMaxMetadataArrayLength: no overflow
    std::vector<T> values(count);
    if (count != 0) std::memcpy(values.data(), bytes_.data() + position_, count * sizeof(T));
    position_ += count * sizeof(T);
    return values;
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view file_;
  std::uint64_t position_ = 0;
  std::string_view kind_ = "header";
  std::string_view name_;
};

std::vector<bool> read_booleans(Cursor& cursor, std::uint64_t count) {
  cursor.need(count, "an array");
  std::vector<bool> values(count);
  for (std::uint64_t i = 0; i < count; ++i) values[i] = cursor.boolean();
  return values;
}

std::string read_string(Cursor& cursor) {
  return std::string(cursor.text(limits::kMaxMetadataStringBytes, "a string"));
}

std::vector<std::string> read_strings(Cursor& cursor, std::uint64_t count) {
  Cursor ahead = cursor;  // every string is really there before memory is taken for the list
  for (std::uint64_t i = 0; i < count; ++i) ahead.text(limits::kMaxMetadataStringBytes, "a string");
  std::vector<std::string> values;
  values.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) values.push_back(read_string(cursor));
  return values;
}

[[noreturn]] void fail_type(const Cursor& cursor, std::uint32_t code) {
  cursor.fail("a value type from 0 to 12", fmt::format("{}", code));
}

GgufArray read_array(Cursor& cursor) {
  const auto code = cursor.number<std::uint32_t>("an array's type");
  const auto count = cursor.number<std::uint64_t>("an array's length");
  if (count > limits::kMaxMetadataArrayLength) {
    cursor.fail(fmt::format("an array of at most {} values", limits::kMaxMetadataArrayLength),
                fmt::format("{}", count));
  }
  switch (static_cast<GgufType>(code)) {
    case GgufType::kU8:
      return cursor.numbers<std::uint8_t>(count);
    case GgufType::kI8:
      return cursor.numbers<std::int8_t>(count);
    case GgufType::kU16:
      return cursor.numbers<std::uint16_t>(count);
    case GgufType::kI16:
      return cursor.numbers<std::int16_t>(count);
    case GgufType::kU32:
      return cursor.numbers<std::uint32_t>(count);
    case GgufType::kI32:
      return cursor.numbers<std::int32_t>(count);
    case GgufType::kU64:
      return cursor.numbers<std::uint64_t>(count);
    case GgufType::kI64:
      return cursor.numbers<std::int64_t>(count);
    case GgufType::kF32:
      return cursor.numbers<float>(count);
    case GgufType::kF64:
      return cursor.numbers<double>(count);
    case GgufType::kBool:
      return read_booleans(cursor, count);
    case GgufType::kString:
      return read_strings(cursor, count);
    case GgufType::kArray:
      cursor.fail("an array of numbers, booleans or strings", "an array of arrays");
  }
  fail_type(cursor, code);
}

GgufValue read_value(Cursor& cursor) {
  const auto code = cursor.number<std::uint32_t>("a value type");
  switch (static_cast<GgufType>(code)) {
    case GgufType::kU8:
      return cursor.number<std::uint8_t>("a value");
    case GgufType::kI8:
      return cursor.number<std::int8_t>("a value");
    case GgufType::kU16:
      return cursor.number<std::uint16_t>("a value");
    case GgufType::kI16:
      return cursor.number<std::int16_t>("a value");
    case GgufType::kU32:
      return cursor.number<std::uint32_t>("a value");
    case GgufType::kI32:
      return cursor.number<std::int32_t>("a value");
    case GgufType::kU64:
      return cursor.number<std::uint64_t>("a value");
    case GgufType::kI64:
      return cursor.number<std::int64_t>("a value");
    case GgufType::kF32:
      return cursor.number<float>("a value");
    case GgufType::kF64:
      return cursor.number<double>("a value");
    case GgufType::kBool:
      return cursor.boolean();
    case GgufType::kString:
      return read_string(cursor);
    case GgufType::kArray:
      return read_array(cursor);
  }
  fail_type(cursor, code);
}

void read_magic_and_version(Cursor& cursor) {
  if (cursor.left() < kGgufMagic.size())
    cursor.fail("the four bytes \"GGUF\"", fmt::format("a file of {} bytes", cursor.left()));
  std::string magic;
  for (std::size_t i = 0; i < kGgufMagic.size(); ++i) magic += cursor.number<char>("the magic");
  if (magic != kGgufMagic) {
    cursor.fail("the four bytes \"GGUF\"", fmt::format("\"{}\"", magic),
                "This is not a GGUF file: give one, or a Hugging Face folder.");
  }
  const auto version = cursor.number<std::uint32_t>("a version");
  if (version == kGgufVersion) return;
  const std::string wanted = fmt::format("version {}", kGgufVersion);
  const std::string found = fmt::format("version {}", version);
  if (version == __builtin_bswap32(kGgufVersion)) {
    cursor.fail(wanted + ", little-endian", "a big-endian file",
                "Convert it with gguf_convert_endian.py of the Python package gguf.");
  }
  if (version == 1 || version == 2)
    cursor.fail(wanted, found, "Convert the original checkpoint again with current tools.");
  cursor.fail(
      wanted, found,
      "The file is newer than this program, or damaged: update the program, or download the file again.");
}

// A count from the header, not above the limit.
std::uint64_t read_count(Cursor& cursor, std::string_view what, std::uint64_t limit) {
  const auto count = cursor.number<std::uint64_t>(what);
  if (count > limit) cursor.fail(fmt::format("{} of at most {}", what, limit), fmt::format("{}", count));
  return count;
}

// Refuses a count of things, each of at least min_bytes, that the rest of the file cannot hold.
void check_count(const Cursor& cursor, std::uint64_t count, std::uint64_t min_bytes, std::string_view what) {
  if (count > cursor.left() / min_bytes) {
    cursor.fail(fmt::format("{} {}", count, what),
                fmt::format("{} bytes before the end of the file", cursor.left()));
  }
}

GgufMetadata read_metadata(Cursor& cursor, std::uint64_t count) {
  check_count(cursor, count, kMinMetadataBytes, "metadata entries");
  GgufMetadata metadata;
  std::set<std::string_view> keys;
  for (std::uint64_t i = 0; i < count; ++i) {
    cursor.enter("metadata");
    const std::string_view key = cursor.name(limits::kMaxMetadataKeyBytes, "a key");
    cursor.enter("metadata", key);
    if (!keys.insert(key).second) cursor.fail("each key once", "it twice");
    metadata.emplace_back(key, read_value(cursor));
  }
  return metadata;
}

std::uint64_t alignment_of(Cursor& cursor, const GgufMetadata& metadata) {
  const GgufValue* value = find(metadata, kGgufAlignmentKey);
  if (value == nullptr) return kGgufDefaultAlignment;
  cursor.enter("metadata", kGgufAlignmentKey);
  const auto* alignment = std::get_if<std::uint32_t>(value);
  if (alignment == nullptr) cursor.fail("a 32-bit unsigned integer", "another type");
  if (!std::has_single_bit(*alignment) || *alignment > limits::kMaxAlignment) {
    cursor.fail(fmt::format("a power of two, at most {}", limits::kMaxAlignment),
                fmt::format("{}", *alignment));
  }
  return *alignment;
}

struct TensorPlace {
  std::uint64_t offset = 0;  // from the beginning of the data
  std::uint64_t size = 0;
};

Shape read_shape(Cursor& cursor) {
  const auto rank = cursor.number<std::uint32_t>("a rank");
  if (rank > limits::kMaxGgufRank)
    cursor.fail(fmt::format("at most {} extents", limits::kMaxGgufRank), fmt::format("{}", rank));
  Shape shape(rank);
  for (std::uint64_t& extent : shape) {
    extent = cursor.number<std::uint64_t>("an extent");
    if (extent == 0) cursor.fail("extents of at least 1", "0");
  }
  std::ranges::reverse(shape);  // innermost first in the file
  return shape;
}

TensorPlace read_tensor_info(Cursor& cursor, TensorView& tensor) {
  cursor.enter("tensor");
  const std::string_view name = cursor.name(limits::kMaxTensorNameBytes, "a tensor name");
  cursor.enter("tensor", name);
  tensor.name = name;
  tensor.shape = read_shape(cursor);
  const auto code = cursor.number<std::uint32_t>("a tensor type");
  const auto dtype = dtype_from_gguf(code);
  if (!dtype) {
    cursor.fail("one of the types F32, F16, BF16, F64, I8 to I64, Q4_0 to Q8_1, Q2_K to Q8_K",
                fmt::format("type code {}", code),
                "Quantise the original checkpoint again with one of these types.");
  }
  tensor.dtype = *dtype;
  const auto size = tensor_bytes(*dtype, tensor.shape);
  if (!size) {
    cursor.fail(fmt::format("a size below 2^64 bytes and rows of whole {} blocks", dtype_info(*dtype).name),
                to_string(tensor.shape));
  }
  return {.offset = cursor.number<std::uint64_t>("an offset"), .size = *size};
}

// Checks that the tensors lie aligned and apart in the data, and that the data ends where the file does;
// then sets their bytes. Gaps are allowed.
void place_tensors(Cursor& cursor, std::span<const std::byte> bytes, std::uint64_t alignment,
                   const std::vector<TensorPlace>& places, std::vector<TensorView>& tensors) {
  const auto data_begin = checked_align_up(cursor.position(), alignment);
  if (places.empty() && cursor.left() == 0) return;  // nothing to align
  if (!data_begin || *data_begin > bytes.size()) {
    cursor.enter("tensor data");
    cursor.fail(fmt::format("padding to a multiple of {}", alignment), "the end of the file");
  }
  const std::uint64_t data_size = bytes.size() - *data_begin;
  std::vector<std::size_t> order(places.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, {}, [&](std::size_t i) { return places[i].offset; });
  std::uint64_t end = 0;
  for (const std::size_t i : order) {
    const auto [offset, size] = places[i];
    cursor.enter("tensor", tensors[i].name);
    if (offset % alignment != 0)
      cursor.fail(fmt::format("an offset divisible by {}", alignment), fmt::format("{}", offset));
    if (offset < end)
      cursor.fail(fmt::format("an offset of {} or more, behind the tensor before it", end),
                  fmt::format("{}", offset));
    const auto padded_size = checked_align_up(size, alignment);
    if (!padded_size || !range_fits(offset, *padded_size, data_size)) {
      cursor.fail(fmt::format("{} bytes (padded to {}) from offset {} on", size, alignment, offset),
                  fmt::format("{} bytes of tensor data", data_size));
    }
    tensors[i].bytes = bytes.subspan(*data_begin + offset, size);
    end = offset + *padded_size;
  }
  cursor.enter("tensor data");
  if (end != data_size) cursor.fail(fmt::format("{} bytes", end), fmt::format("{}", data_size));
}

}  // namespace

const GgufValue* find(const GgufMetadata& metadata, std::string_view key) {
  const auto entry =
      std::ranges::find(metadata, key, [](const auto& pair) { return std::string_view(pair.first); });
  return entry == metadata.end() ? nullptr : &entry->second;
}

GgufFile GgufFile::open(const std::string& path, FileAccess access) {
  auto file = std::make_shared<const MappedFile>(path, access);
  GgufFile result = parse(file->bytes(), path);
  result.file_ = std::move(file);
  return result;
}

GgufFile GgufFile::parse(std::span<const std::byte> bytes, std::string_view name) {
  Cursor cursor(bytes, name);
  read_magic_and_version(cursor);
  const std::uint64_t num_tensors = read_count(cursor, "a tensor count", limits::kMaxTensors);
  const std::uint64_t num_entries = read_count(cursor, "a metadata count", limits::kMaxMetadataEntries);
  GgufFile result;
  result.path_ = name;
  result.file_bytes_ = bytes.size();
  result.metadata_ = read_metadata(cursor, num_entries);
  const std::uint64_t alignment = alignment_of(cursor, result.metadata_);
  cursor.enter("tensor list");
  check_count(cursor, num_tensors, kMinTensorInfoBytes, "tensors");
  std::vector<TensorPlace> places;
  for (std::uint64_t i = 0; i < num_tensors; ++i) {
    TensorView& tensor = result.tensors_.emplace_back();
    places.push_back(read_tensor_info(cursor, tensor));
    if (!result.index_.emplace(tensor.name, i).second) cursor.fail("each tensor once", "it twice");
  }
  place_tensors(cursor, bytes, alignment, places, result.tensors_);
  return result;
}

const TensorView* GgufFile::find_tensor(std::string_view name) const {
  const auto entry = index_.find(name);
  return entry == index_.end() ? nullptr : &tensors_[entry->second];
}

void GgufFile::release(std::span<const std::byte> part) const {
  if (file_) file_->release(part);
}

bool GgufFile::read(std::span<const std::byte> part, std::span<std::byte> to) const {
  return file_ && file_->read(part, to);
}

}  // namespace ttt::weights
