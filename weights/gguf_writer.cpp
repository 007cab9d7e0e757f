// SPDX-License-Identifier: Apache-2.0
// Writes what gguf_reader.cpp accepts: the same limits hold, so that no file is written that we refuse to
// read.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "weights/checked.h"
#include "weights/checkpoint_error.h"
#include "weights/gguf.h"
#include "weights/gguf_format.h"
#include "weights/limits.h"
#include "weights/utf8.h"

namespace ttt::weights {
namespace {

template <typename T>
constexpr GgufType type_of() {
  if constexpr (std::is_same_v<T, std::uint8_t>) return GgufType::kU8;
  if constexpr (std::is_same_v<T, std::int8_t>) return GgufType::kI8;
  if constexpr (std::is_same_v<T, std::uint16_t>) return GgufType::kU16;
  if constexpr (std::is_same_v<T, std::int16_t>) return GgufType::kI16;
  if constexpr (std::is_same_v<T, std::uint32_t>) return GgufType::kU32;
  if constexpr (std::is_same_v<T, std::int32_t>) return GgufType::kI32;
  if constexpr (std::is_same_v<T, std::uint64_t>) return GgufType::kU64;
  if constexpr (std::is_same_v<T, std::int64_t>) return GgufType::kI64;
  if constexpr (std::is_same_v<T, float>) return GgufType::kF32;
  if constexpr (std::is_same_v<T, double>) return GgufType::kF64;
  if constexpr (std::is_same_v<T, bool>) return GgufType::kBool;
  if constexpr (std::is_same_v<T, std::string>) return GgufType::kString;
  if constexpr (std::is_same_v<T, GgufArray>) return GgufType::kArray;
}

// The header's bytes, built in memory: it is small beside the tensors.
class HeaderBuilder {
 public:
  explicit HeaderBuilder(std::string_view file) : file_(file) {}

  const std::string& bytes() const { return bytes_; }
  auto take_string_places() { return std::move(string_places_); }

  template <typename T>
  void number(T value) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    bytes_.append(raw, sizeof(T));
  }

  void text(std::string_view value) {
    number(static_cast<std::uint64_t>(value.size()));
    bytes_ += value;
  }

  void metadata_entry(const std::string& key, const GgufValue& value) {
    check_name(key, limits::kMaxMetadataKeyBytes, "metadata key");
    if (!keys_.insert(key).second) fail(key, "each key once", "it twice");
    if (key == kGgufAlignmentKey && value != GgufValue(kGgufDefaultAlignment)) {
      fail(key, fmt::format("the 32-bit value {}", kGgufDefaultAlignment), "another value");
    }
    text(key);
    std::visit(
        [&](const auto& held) {
          using T = std::decay_t<decltype(held)>;
          number(static_cast<std::uint32_t>(type_of<T>()));
          if constexpr (std::is_same_v<T, std::string>)
            string_places_[key] = {bytes_.size() + 8, held.size()};
          append(key, held);
        },
        value);
  }

  // `offset`: of the tensor's bytes from the beginning of the data.
  void tensor_info(const GgufTensorInfo& tensor, std::uint64_t offset) {
    check_name(tensor.name, limits::kMaxTensorNameBytes, "tensor name");
    if (!names_.insert(tensor.name).second) fail(tensor.name, "each tensor once", "it twice");
    if (tensor.shape.size() > limits::kMaxGgufRank || std::ranges::count(tensor.shape, 0U) != 0) {
      fail(tensor.name, fmt::format("at most {} extents, each at least 1", limits::kMaxGgufRank),
           to_string(tensor.shape));
    }
    const auto code = gguf_from_dtype(tensor.dtype);
    if (!code) fail(tensor.name, "a type that GGUF has", dtype_info(tensor.dtype).name);
    text(tensor.name);
    number(static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent) number(*extent);
    number(*code);
    number(offset);
  }

  void pad() {
    bytes_.resize((bytes_.size() + kGgufDefaultAlignment - 1) / kGgufDefaultAlignment *
                  kGgufDefaultAlignment);
  }

  [[noreturn]] void fail(std::string_view where, std::string_view wanted, std::string_view found) const {
    refuse(
        {.file = file_, .where = where, .wanted = wanted, .found = found, .remedy = "Nothing was written."});
  }

 private:
  template <typename T>
  void append(const std::string&, T value) requires std::is_arithmetic_v<T> {
    number(value);  // a bool is one byte, 0 or 1
  }
  void append(const std::string& key, const std::string& value) {
    if (value.size() > limits::kMaxMetadataStringBytes) {
      fail(key, fmt::format("at most {} bytes", limits::kMaxMetadataStringBytes),
           fmt::format("{}", value.size()));
    }
    text(value);
  }
  void append(const std::string& key, const GgufArray& array) {
    std::visit(
        [&](const auto& values) {
          using T = typename std::decay_t<decltype(values)>::value_type;
          if (values.size() > limits::kMaxMetadataArrayLength) {
            fail(key, fmt::format("at most {} values", limits::kMaxMetadataArrayLength),
                 fmt::format("{}", values.size()));
          }
          number(static_cast<std::uint32_t>(type_of<T>()));
          number(static_cast<std::uint64_t>(values.size()));
          for (const auto& value : values) append(key, static_cast<const T&>(value));
        },
        array);
  }

  void check_name(const std::string& name, std::uint64_t max_bytes, std::string_view what) const {
    if (name.empty() || name.size() > max_bytes || !is_utf8(name)) {
      fail(what, fmt::format("1 to {} bytes of UTF-8", max_bytes), fmt::format("'{}'", name));
    }
  }

  std::string_view file_;
  std::string bytes_;
  std::set<std::string, std::less<>> keys_;
  std::set<std::string, std::less<>> names_;
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>, std::less<>> string_places_;
};

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace

GgufWriter::GgufWriter(const std::string& path, const GgufMetadata& metadata,
                       std::vector<GgufTensorInfo> tensors)
    : file_(path), tensors_(std::move(tensors)) {
  HeaderBuilder header(path);
  if (metadata.size() > limits::kMaxMetadataEntries || tensors_.size() > limits::kMaxTensors) {
    header.fail("counts",
                fmt::format("at most {} tensors and {} metadata entries", limits::kMaxTensors,
                            limits::kMaxMetadataEntries),
                fmt::format("{} and {}", tensors_.size(), metadata.size()));
  }
  for (const char c : kGgufMagic) header.number(c);
  header.number(kGgufVersion);
  header.number(static_cast<std::uint64_t>(tensors_.size()));
  header.number(static_cast<std::uint64_t>(metadata.size()));
  for (const auto& [key, value] : metadata) header.metadata_entry(key, value);
  std::optional<std::uint64_t> offset = 0;
  for (const GgufTensorInfo& tensor : tensors_) {
    const auto size = tensor_bytes(tensor.dtype, tensor.shape);
    const auto padded = size ? checked_align_up(*size, kGgufDefaultAlignment) : std::nullopt;
    header.tensor_info(tensor, *offset);
    offset = padded ? checked_add(*offset, *padded) : std::nullopt;
    if (!offset) {
      header.fail(tensor.name, "a size that fits 64 bits, and rows of whole blocks",
                  fmt::format("{} of shape {}", dtype_info(tensor.dtype).name, to_string(tensor.shape)));
    }
  }
  header.pad();
  string_places_ = header.take_string_places();
  file_.write(bytes_of(header.bytes()));
}

void GgufWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (current_tensor_ == tensors_.size())
      throw std::logic_error("GgufWriter: more bytes than the tensors have");
    const GgufTensorInfo& tensor = tensors_[current_tensor_];
    const std::uint64_t missing = tensor_bytes(tensor.dtype, tensor.shape).value() - written_in_tensor_;
    const auto part = bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(missing, bytes.size())));
    file_.write(part);
    bytes = bytes.subspan(part.size());
    written_in_tensor_ += part.size();
    if (part.size() < missing) continue;
    pad_to_alignment();
    ++current_tensor_;
    written_in_tensor_ = 0;
  }
}

void GgufWriter::pad_to_alignment() {
  constexpr std::byte kZeros[kGgufDefaultAlignment] = {};
  const std::uint64_t tail = file_.size() % kGgufDefaultAlignment;
  if (tail != 0) file_.write(std::span(kZeros).subspan(tail));
}

void GgufWriter::patch_string(std::string_view key, std::string_view value) {
  const auto place = string_places_.find(key);
  if (place == string_places_.end() || place->second.second != value.size()) {
    throw std::logic_error(fmt::format("GgufWriter: no string of {} bytes under {}", value.size(), key));
  }
  file_.write_at(place->second.first, bytes_of(value));
}

void GgufWriter::commit(const std::function<void(const std::string& path)>& check) {
  if (current_tensor_ != tensors_.size()) {
    throw std::logic_error(
        fmt::format("GgufWriter: tensor {} is not complete", tensors_[current_tensor_].name));
  }
  file_.commit(check);
}

}  // namespace ttt::weights
