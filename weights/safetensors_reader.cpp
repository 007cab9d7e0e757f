// SPDX-License-Identifier: Apache-2.0
// Reads and checks a safetensors header as the reference reader does, and refuses duplicate names besides.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>
#include <utility>

#include "weights/checked.h"
#include "weights/checkpoint_error.h"
#include "weights/limits.h"
#include "weights/safetensors.h"
#include "weights/strict_json.h"

namespace ttt::weights {
namespace {

static_assert(std::endian::native == std::endian::little, "tensor bytes are used as they lie in the file");

constexpr std::string_view kSafetensorsRemedy =
    "The file is damaged or incomplete: download or convert it again.";
constexpr std::uint64_t kLengthBytes = 8;  // of the number in front of the header

struct Entry {
  std::string name;
  std::optional<DType> dtype;
  std::optional<Shape> shape;
  std::vector<std::uint64_t> offsets;  // begin and end in the data
};

// Listens to the header and keeps its tensors. Unknown fields of a tensor are skipped, as the reference does.
class HeaderListener : public JsonListener {
 public:
  HeaderListener(std::string_view file, std::map<std::string, std::string>& metadata)
      : file_(file), metadata_(metadata) {}

  std::vector<Entry> take() { return std::move(entries_); }

  void begin_object() override { open(true); }
  void begin_array() override { open(false); }
  void end() override {
    --depth_;
    if (depth_ == 1 && !in_metadata_) finish_entry();
  }

  void key(std::string name) override {
    if (depth_ > 2) return;
    if (depth_ == 2) {
      key_ = std::move(name);
      return;
    }
    in_metadata_ = name == "__metadata__";
    if (in_metadata_) return;
    if (name.empty() || name.size() > limits::kMaxTensorNameBytes) {
      fail(name.empty() ? "header" : name,
           fmt::format("a tensor name of 1 to {} bytes", limits::kMaxTensorNameBytes),
           fmt::format("{} bytes", name.size()));
    }
    if (entries_.size() == limits::kMaxTensors)
      fail("header", fmt::format("at most {} tensors", limits::kMaxTensors), "more");
    entries_.push_back({.name = std::move(name), .dtype = {}, .shape = {}, .offsets = {}});
  }

  void scalar(JsonScalar value) override {
    if (depth_ == 0) fail("header", "an object", "another value");
    if (depth_ == 1) fail_entry();
    if (in_metadata_) return metadata_value(value);
    if (depth_ == 2 && key_ == "dtype") return dtype(value);
    if (depth_ == 3 && key_ == "shape") return shape_extent(value);
    if (depth_ == 3 && key_ == "data_offsets") return offset(value);
    if (depth_ == 2 && (key_ == "shape" || key_ == "data_offsets")) fail_field("a list", "another value");
  }

 private:
  static constexpr std::uint64_t kMaxMetadata = limits::kMaxMetadataEntries;

  void open(bool is_object) {
    ++depth_;
    if (depth_ == 1 && !is_object) fail("header", "an object", "a list");
    if (depth_ == 2 && !is_object) fail_entry();
    if (depth_ < 3) return;
    if (in_metadata_) fail("__metadata__", "strings", "an object or a list");
    if (key_ == "dtype") fail_field("a string", "an object or a list");
    if (key_ != "shape" && key_ != "data_offsets") return;
    if (depth_ > 3 || is_object) fail_field("a list of numbers", "something else");
    if (key_ == "shape") entries_.back().shape.emplace();
  }

  void metadata_value(JsonScalar& value) {
    auto* text = std::get_if<std::string>(&value);
    if (text == nullptr) fail("__metadata__", "strings", "another value");
    if (metadata_.size() == kMaxMetadata)
      fail("__metadata__", fmt::format("at most {} entries", kMaxMetadata), "more");
    metadata_.emplace(std::move(key_), std::move(*text));
  }

  void dtype(const JsonScalar& value) {
    const auto* text = std::get_if<std::string>(&value);
    if (text == nullptr) fail_field("a string", "another value");
    const auto found = dtype_from_name(*text);
    // The format writes its names in capitals, and has none of ggml's block types.
    if (!found || dtype_info(*found).block_elements != 1 || dtype_info(*found).name != *text) {
      fail_field("F64, F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL", *text,
                 "Convert the tensor to one of these types.");
    }
    entries_.back().dtype = found;
  }

  void shape_extent(const JsonScalar& value) {
    Shape& shape = *entries_.back().shape;
    if (shape.size() == limits::kMaxTensorRank)
      fail_field(fmt::format("at most {} extents", limits::kMaxTensorRank), "more");
    shape.push_back(number(value));
  }

  void offset(const JsonScalar& value) {
    auto& offsets = entries_.back().offsets;
    if (offsets.size() == 2) fail_field("two numbers", "more");
    offsets.push_back(number(value));
  }

  std::uint64_t number(const JsonScalar& value) const {
    const auto* number = std::get_if<std::uint64_t>(&value);
    if (number == nullptr) fail_field("whole numbers from 0 to 2^64-1", "another value");
    return *number;
  }

  void finish_entry() const {
    const Entry& entry = entries_.back();
    if (!entry.dtype || !entry.shape || entry.offsets.size() != 2) {
      fail(entry.name, "dtype, shape and two data_offsets", "a part of them");
    }
  }

  [[noreturn]] void fail_entry() const {
    fail(in_metadata_ ? "__metadata__" : entries_.back().name, "an object", "another value");
  }
  [[noreturn]] void fail_field(std::string_view wanted, std::string_view found,
                               std::string_view remedy = kSafetensorsRemedy) const {
    refuse({.file = file_,
            .where = entries_.back().name + ", " + key_,
            .wanted = wanted,
            .found = found,
            .remedy = remedy});
  }
  [[noreturn]] void fail(std::string_view where, std::string_view wanted, std::string_view found) const {
    refuse({.file = file_, .where = where, .wanted = wanted, .found = found, .remedy = kSafetensorsRemedy});
  }

  std::string_view file_;
  std::map<std::string, std::string>& metadata_;
  std::vector<Entry> entries_;
  std::string key_;  // of the entry or of the metadata
  int depth_ = 0;    // 1: the header, 2: a tensor or the metadata, 3: a list in a tensor
  bool in_metadata_ = false;
};

std::string_view header_text(std::span<const std::byte> bytes, std::string_view file) {
  const auto fail = [&](const std::string& wanted, const std::string& found) {
    refuse({.file = file, .where = "header", .wanted = wanted, .found = found, .remedy = kSafetensorsRemedy});
  };
  if (bytes.size() < kLengthBytes)
    fail("8 bytes of header length", fmt::format("a file of {} bytes", bytes.size()));
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > limits::kMaxSafetensorsHeaderBytes) {
    fail(fmt::format("at most {} bytes", limits::kMaxSafetensorsHeaderBytes), fmt::format("{}", length));
  }
  const std::uint64_t left = bytes.size() - kLengthBytes;
  if (length > left)
    fail(fmt::format("{} bytes", length), fmt::format("{} before the end of the file", left));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data() + kLengthBytes), length);
  if (!text.starts_with('{'))
    fail("JSON that starts with {", text.empty() ? "nothing" : fmt::format("'{}'", text.front()));
  return text;
}

// The tensors must tile the data in the order of their offsets, without holes and overlaps, to its end.
TensorView place_tensor(const Entry& entry, std::uint64_t begin, std::span<const std::byte> data,
                        std::string_view file) {
  const auto fail = [&](const std::string& wanted, const std::string& found) {
    refuse(
        {.file = file, .where = entry.name, .wanted = wanted, .found = found, .remedy = kSafetensorsRemedy});
  };
  const std::string found = fmt::format("{} to {}", entry.offsets[0], entry.offsets[1]);
  const auto size = tensor_bytes(*entry.dtype, *entry.shape);
  if (!size) fail("a size below 2^64 bytes", to_string(*entry.shape));
  const auto end = checked_add(begin, *size);
  if (entry.offsets[0] != begin || !end || entry.offsets[1] != *end) {
    fail(fmt::format("data_offsets from {} on, {} bytes long", begin, *size), found);
  }
  if (*end > data.size())
    fail(fmt::format("data of {} bytes or more", *end), fmt::format("{} bytes", data.size()));
  return {
      .name = entry.name, .dtype = *entry.dtype, .shape = *entry.shape, .bytes = data.subspan(begin, *size)};
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::string& path, FileAccess access) {
  auto file = std::make_shared<const MappedFile>(path, access);
  SafetensorsFile result = parse(file->bytes(), path);
  result.file_ = std::move(file);
  return result;
}

SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes, std::string_view name) {
  const std::string_view text = header_text(bytes, name);
  const auto data = bytes.subspan(kLengthBytes + text.size());
  SafetensorsFile result;
  result.path_ = name;
  result.file_bytes_ = bytes.size();
  HeaderListener listener(name, result.metadata_);
  parse_strict_json(text, name, listener);
  std::vector<Entry> entries = listener.take();
  std::ranges::sort(entries, {}, [](const Entry& entry) { return std::tie(entry.offsets, entry.name); });
  std::uint64_t end = 0;
  for (const Entry& entry : entries) {
    result.index_.emplace(entry.name, result.tensors_.size());
    result.tensors_.push_back(place_tensor(entry, end, data, name));
    end += result.tensors_.back().bytes.size();
  }
  if (end != data.size()) {
    refuse({.file = name,
            .where = "tensor data",
            .wanted = fmt::format("{} bytes", end),
            .found = fmt::format("{} bytes", data.size()),
            .remedy = kSafetensorsRemedy});
  }
  return result;
}

const TensorView* SafetensorsFile::find_tensor(std::string_view name) const {
  const auto entry = index_.find(name);
  return entry == index_.end() ? nullptr : &tensors_[entry->second];
}

void SafetensorsFile::release(std::span<const std::byte> part) const {
  if (file_) file_->release(part);
}

bool SafetensorsFile::read(std::span<const std::byte> part, std::span<std::byte> to) const {
  return file_ && file_->read(part, to);
}

}  // namespace ttt::weights
