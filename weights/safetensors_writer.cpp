// SPDX-License-Identifier: Apache-2.0
// Writes what safetensors_reader.cpp accepts.
#include <fmt/format.h>

#include <set>
#include <stdexcept>
#include <utility>

#include "weights/checked.h"
#include "weights/checkpoint_error.h"
#include "weights/limits.h"
#include "weights/safetensors.h"
#include "weights/strict_json.h"
#include "weights/utf8.h"

namespace ttt::weights {
namespace {

constexpr std::size_t kDataAlignment =
    8;  // of the data's first byte in the file, by spaces behind the header

[[noreturn]] void fail(std::string_view file, std::string_view where, std::string_view wanted,
                       std::string_view found) {
  refuse({.file = file, .where = where, .wanted = wanted, .found = found, .remedy = "Nothing was written."});
}

void append_metadata(std::string& json, const std::map<std::string, std::string>& metadata,
                     std::string_view file) {
  if (metadata.empty()) return;
  if (metadata.size() > limits::kMaxMetadataEntries) {
    fail(file, "__metadata__", fmt::format("at most {} entries", limits::kMaxMetadataEntries),
         fmt::format("{}", metadata.size()));
  }
  json += "\"__metadata__\":{";
  for (const auto& [key, value] : metadata) {
    if (!is_utf8(key) || !is_utf8(value)) fail(file, "__metadata__", "UTF-8", key);
    json += json_quoted(key) + ':' + json_quoted(value) + ',';
  }
  json.back() = '}';
  json += ',';
}

// Appends one tensor that begins at `begin` in the data; returns where it ends.
std::uint64_t append_tensor(std::string& json, const SafetensorsTensorInfo& tensor, std::uint64_t begin,
                            std::string_view file) {
  const DTypeInfo& type = dtype_info(tensor.dtype);
  if (tensor.name.empty() || tensor.name.size() > limits::kMaxTensorNameBytes || !is_utf8(tensor.name) ||
      tensor.name == "__metadata__") {
    fail(file, "tensor name", fmt::format("1 to {} bytes of UTF-8", limits::kMaxTensorNameBytes),
         tensor.name);
  }
  if (type.block_elements != 1) fail(file, tensor.name, "a type that safetensors has", type.name);
  const auto size = tensor_bytes(tensor.dtype, tensor.shape);
  const auto end = size ? checked_add(begin, *size) : std::nullopt;
  if (!end || tensor.shape.size() > limits::kMaxTensorRank) {
    fail(file, tensor.name,
         fmt::format("at most {} extents and a size below 2^64 bytes", limits::kMaxTensorRank),
         to_string(tensor.shape));
  }
  json += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}},",
                      json_quoted(tensor.name), type.name, to_string(tensor.shape), begin, *end);
  return *end;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::string& path,
                                     const std::vector<SafetensorsTensorInfo>& tensors,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path) {
  if (tensors.size() > limits::kMaxTensors) {
    fail(path, "header", fmt::format("at most {} tensors", limits::kMaxTensors),
         fmt::format("{}", tensors.size()));
  }
  std::string json = "{";
  append_metadata(json, metadata, path);
  std::uint64_t data_bytes = 0;
  std::set<std::string_view> names;
  for (const SafetensorsTensorInfo& tensor : tensors) {
    if (!names.insert(tensor.name).second) fail(path, tensor.name, "each tensor once", "it twice");
    data_bytes = append_tensor(json, tensor, data_bytes, path);
  }
  if (json.back() == ',') json.pop_back();
  json += '}';
  while (json.size() % kDataAlignment != 0) json += ' ';
  if (json.size() > limits::kMaxSafetensorsHeaderBytes) {
    fail(path, "header", fmt::format("at most {} bytes", limits::kMaxSafetensorsHeaderBytes),
         fmt::format("{}", json.size()));
  }
  const auto end = checked_add(sizeof(std::uint64_t) + json.size(), data_bytes);
  if (!end) fail(path, "tensor data", "a size below 2^64 bytes", "more");
  file_bytes_ = *end;
  const std::uint64_t length = json.size();
  file_.write(std::as_bytes(std::span(&length, 1)));
  file_.write(std::as_bytes(std::span(json)));
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  if (!range_fits(file_.size(), bytes.size(), file_bytes_)) {
    throw std::logic_error("SafetensorsWriter: more bytes than the tensors have");
  }
  file_.write(bytes);
}

void SafetensorsWriter::commit() {
  if (file_.size() != file_bytes_) throw std::logic_error("SafetensorsWriter: a tensor is not complete");
  file_.commit();
}

}  // namespace ttt::weights
