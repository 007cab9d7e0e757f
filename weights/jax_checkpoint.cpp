// SPDX-License-Identifier: Apache-2.0
#include "weights/jax_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "weights/checked.h"
#include "weights/checkpoint_error.h"
#include "weights/file_reader.h"
#include "weights/limits.h"
#include "weights/msgpack.h"
#include "weights/utf8.h"

namespace ttt::weights {
namespace {

using enum MsgpackType;

constexpr std::string_view kJaxRemedy = "The file is damaged or not a checkpoint: download or copy it again.";
// Holds a record's path and the header of its array, of which real ones take 150 bytes.
constexpr std::size_t kWindowBytes = 4096;
constexpr std::uint64_t kMaxPathComponents = 64;
// A train state has each tensor three times and a few numbers.
constexpr std::uint64_t kMaxRecords = 4 * limits::kMaxTensors;
constexpr std::int8_t kArrayExtension = 1;   // Flax: shape, type, bytes
constexpr std::int8_t kScalarExtension = 3;  // the same for a NumPy scalar
constexpr std::string_view kChunkedMarker = "__msgpack_chunked_array__";

constexpr std::pair<std::string_view, DType> kTypes[] = {
    {"bfloat16", DType::kBF16}, {"float16", DType::kF16}, {"float32", DType::kF32}, {"float64", DType::kF64},
    {"int64", DType::kI64},     {"int32", DType::kI32},   {"int16", DType::kI16},   {"int8", DType::kI8},
    {"uint8", DType::kU8},      {"bool", DType::kBool}};

std::string join(const std::vector<std::string>& components) {
  std::string name;
  for (const std::string& component : components) {
    if (!name.empty()) name += '/';
    name += component;
  }
  return name;
}

// "12" is 12; "012", "+1" and "" are no keys of a list.
std::optional<std::uint64_t> list_index(std::string_view key) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), value);
  if (error != std::errc() || end != key.data() + key.size() || fmt::format("{}", value) != key) return {};
  return value;
}

}  // namespace

bool is_jax_stream(std::string_view prefix) {
  if (prefix.size() < 2 || prefix[0] != '\x92') return false;
  const auto second = static_cast<unsigned char>(prefix[1]);
  return (second >= 0x90 && second <= 0x9f) || second == 0xdc || second == 0xdd;
}

// Walks over the records and notes where each parameter lies.
class JaxCheckpoint::Scanner {
 public:
  explicit Scanner(JaxCheckpoint& checkpoint) : checkpoint_(checkpoint) {}

  void scan() {
    std::uint64_t offset = 0;
    for (std::uint64_t records = 0; offset < checkpoint_.file_bytes_; ++records) {
      if (records == kMaxRecords) fail("the stream", fmt::format("at most {} records", kMaxRecords), "more");
      offset = record(offset);
    }
    if (checkpoint_.tensors_.empty()) fail("the stream", "parameters", "none");
  }

 private:
  struct Array {
    DType dtype = DType::kF32;
    Shape shape;
    Part part;
  };

  // A reader of the file's bytes [begin, end); it is good until the next call.
  MsgpackReader window_at(std::uint64_t begin, std::uint64_t end) {
    const std::size_t count = checkpoint_.read_at_(begin, window_);
    return {std::span<const std::byte>(window_).first(count), checkpoint_.path_, begin, end};
  }

  // Returns where the next record begins.
  std::uint64_t record(std::uint64_t offset) {
    MsgpackReader reader = window_at(offset, checkpoint_.file_bytes_);
    if (reader.next(kArray).size != 2) {
      fail(fmt::format("byte {}", offset), "a pair of a path and an array", "another number of values");
    }
    std::vector<std::string> path = read_path(reader);
    if (path.front() == "step" || path.front() == "opt_state") {
      checkpoint_.is_train_state_ = true;
      reader.skip_value();
      return reader.position();
    }
    // "params" is the field of the train state, and a second one Flax's collection.
    for (int i = 0; i < 2 && path.size() > 1 && path.front() == "params"; ++i) path.erase(path.begin());
    const std::string name = join(path);
    check_name(name);
    const MsgpackItem payload = reader.next();
    if (payload.type != kBinary && payload.type != kString) {  // strings: writers before msgpack 1.0
      fail(name, "an array as binary data", to_string(payload.type));
    }
    const std::uint64_t end = reader.position() + payload.size;  // inside the file: next() has checked it
    add_tensor(name, reader.position(), end);
    return end;
  }

  std::vector<std::string> read_path(MsgpackReader& reader) {
    const std::uint64_t begin = reader.position();
    const std::uint64_t count = reader.next(kArray).size;
    if (count == 0 || count > kMaxPathComponents) {
      fail(fmt::format("byte {}", begin), fmt::format("a path of 1 to {} components", kMaxPathComponents),
           fmt::format("{}", count));
    }
    std::vector<std::string> path;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::string_view component = reader.payload(reader.next(kString));
      if (component.empty() || !is_utf8(component)) {
        fail(fmt::format("byte {}", begin), "a path of names in UTF-8", fmt::format("'{}'", component));
      }
      path.emplace_back(component);
    }
    return path;
  }

  void check_name(const std::string& name) {
    if (name.size() > limits::kMaxTensorNameBytes) {
      fail(name, fmt::format("a path of at most {} bytes", limits::kMaxTensorNameBytes),
           fmt::format("{}", name.size()));
    }
    if (!names_.insert(name).second) fail(name, "each parameter once", "it twice");
    if (names_.size() > limits::kMaxTensors) {
      fail("the stream", fmt::format("at most {} parameters", limits::kMaxTensors), "more");
    }
  }

  void add_tensor(const std::string& name, std::uint64_t begin, std::uint64_t end) {
    MsgpackReader reader = window_at(begin, end);
    const MsgpackItem item = reader.next();
    if (item.type == kMap) {
      add_chunked(name, item.size, reader.position(), end);
      return;
    }
    Array array = read_array(name, reader, item);
    if (reader.remaining() != 0) fail(name, "one array", "bytes behind it");
    checkpoint_.tensors_.push_back({name, array.dtype, std::move(array.shape)});
    checkpoint_.parts_.push_back({array.part});
  }

  // The array whose extension header was just read; leaves `reader` behind it.
  Array read_array(const std::string& name, MsgpackReader& reader, const MsgpackItem& item) {
    if (item.type != kExtension ||
        (item.extension != kArrayExtension && item.extension != kScalarExtension)) {
      fail(name, "an array (MessagePack extension 1)",
           item.type == kExtension ? fmt::format("extension {}", item.extension)
                                   : std::string(to_string(item.type)));
    }
    MsgpackReader inner = reader.inside(item);
    reader.skip_payload(item);
    if (inner.next(kArray).size != 3) fail(name, "shape, type and bytes", "another number of values");
    Array array;
    const std::uint64_t rank = inner.next(kArray).size;
    if (rank > limits::kMaxTensorRank) {
      fail(name, fmt::format("at most {} extents", limits::kMaxTensorRank), fmt::format("{}", rank));
    }
    for (std::uint64_t i = 0; i < rank; ++i) array.shape.push_back(inner.next(kUnsigned).number);
    array.dtype = read_dtype(name, inner.payload(inner.next(kString)));
    MsgpackItem data = inner.next();
    if (data.type != kBinary && data.type != kString) fail(name, "bytes of values", to_string(data.type));
    array.part = {inner.position(), data.size};
    const auto wanted = tensor_bytes(array.dtype, array.shape);
    if (wanted != data.size) {
      fail(name,
           fmt::format("as many bytes as {} of {} takes", to_string(array.shape),
                       dtype_info(array.dtype).name),
           fmt::format("{}", data.size));
    }
    inner.skip_payload(data);
    if (inner.remaining() != 0) fail(name, "an array of shape, type and bytes", "bytes behind them");
    return array;
  }

  DType read_dtype(const std::string& name, std::string_view text) const {
    const auto* found = std::ranges::find(kTypes, text, [](const auto& entry) { return entry.first; });
    if (found == std::end(kTypes)) fail(name, "a type of real numbers", fmt::format("'{}'", text));
    return found->second;
  }

  // Arrays beyond 1 GiB: a map of the marker, the shape and the chunks. Lists are maps from "0", "1", ...
  void add_chunked(const std::string& name, std::uint64_t num_keys, std::uint64_t begin, std::uint64_t end) {
    std::optional<Shape> shape;
    std::map<std::uint64_t, Array> chunks;
    bool has_marker = false;
    if (num_keys != 3) fail(name, "an array, or the map of a chunked one", "another map");
    for (int i = 0; i < 3; ++i) {
      MsgpackReader reader = window_at(begin, end);
      const std::string_view key = reader.payload(reader.next(kString));
      if (key == kChunkedMarker && !has_marker) {
        has_marker = reader.next(kBool).number == 1;
      } else if (key == "shape" && !shape) {
        shape = read_shape(name, reader);
      } else if (key == "chunks" && chunks.empty()) {
        begin = read_chunks(name, reader, end, chunks);
        continue;
      } else {
        fail(name, "marker, shape and chunks of a chunked array", fmt::format("'{}'", key));
      }
      begin = reader.position();
    }
    if (!has_marker || !shape || chunks.empty())
      fail(name, "marker, shape and chunks", "one of them missing");
    if (begin != end) fail(name, "one chunked array", "bytes behind it");
    join_chunks(name, std::move(*shape), chunks);
  }

  Shape read_shape(const std::string& name, MsgpackReader& reader) {
    const std::uint64_t rank = reader.next(kMap).size;
    if (rank > limits::kMaxTensorRank) {
      fail(name, fmt::format("at most {} extents", limits::kMaxTensorRank), fmt::format("{}", rank));
    }
    Shape shape(static_cast<std::size_t>(rank));
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < rank; ++i) {
      const auto axis = list_index(reader.payload(reader.next(kString)));
      if (!axis || *axis >= rank || !seen.insert(*axis).second) fail(name, "axes 0, 1, ...", "another name");
      shape[static_cast<std::size_t>(*axis)] = reader.next(kUnsigned).number;
    }
    return shape;
  }

  // Returns where they end.
  std::uint64_t read_chunks(const std::string& name, MsgpackReader& header, std::uint64_t end,
                            std::map<std::uint64_t, Array>& chunks) {
    const std::uint64_t count = header.next(kMap).size;
    if (count == 0 || count > limits::kMaxShards) {
      fail(name, fmt::format("1 to {} chunks", limits::kMaxShards), fmt::format("{}", count));
    }
    std::uint64_t begin = header.position();
    for (std::uint64_t i = 0; i < count; ++i) {
      MsgpackReader reader = window_at(begin, end);
      const auto index = list_index(reader.payload(reader.next(kString)));
      Array chunk = read_array(name, reader, reader.next());
      if (!index || *index >= count || !chunks.emplace(*index, std::move(chunk)).second) {
        fail(name, "chunks 0, 1, ...", "another name");
      }
      begin = reader.position();
    }
    return begin;
  }

  void join_chunks(const std::string& name, Shape shape, const std::map<std::uint64_t, Array>& chunks) {
    const DType dtype = chunks.begin()->second.dtype;
    std::vector<Part> parts;
    std::optional<std::uint64_t> sum = 0;
    for (const auto& [index, chunk] : chunks) {
      if (chunk.dtype != dtype) fail(name, "chunks of one type", "several");
      parts.push_back(chunk.part);
      sum = sum ? checked_add(*sum, chunk.part.bytes) : std::nullopt;
    }
    const auto wanted = tensor_bytes(dtype, shape);
    if (!wanted || sum != wanted) {
      fail(name, fmt::format("chunks that make up {}", to_string(shape)), "another number of bytes");
    }
    checkpoint_.tensors_.push_back({name, dtype, std::move(shape)});
    checkpoint_.parts_.push_back(std::move(parts));
  }

  [[noreturn]] void fail(std::string_view where, std::string_view wanted, std::string_view found) const {
    refuse(
        {.file = checkpoint_.path_, .where = where, .wanted = wanted, .found = found, .remedy = kJaxRemedy});
  }

  JaxCheckpoint& checkpoint_;
  std::array<std::byte, kWindowBytes> window_ = {};
  std::set<std::string, std::less<>> names_;
};

JaxCheckpoint::JaxCheckpoint(std::string path, std::uint64_t file_bytes, ReadAt read_at)
    : path_(std::move(path)), file_bytes_(file_bytes), read_at_(std::move(read_at)) {
  Scanner(*this).scan();
}

JaxCheckpoint JaxCheckpoint::open(const std::string& path) {
  const auto file = std::make_shared<const FileReader>(path);
  return {path, file->size(),
          [file](std::uint64_t offset, std::span<std::byte> to) { return file->read_at(offset, to); }};
}

JaxCheckpoint JaxCheckpoint::parse(std::span<const std::byte> bytes, std::string_view name) {
  return {std::string(name), bytes.size(), [bytes](std::uint64_t offset, std::span<std::byte> to) {
            const auto rest = bytes.subspan(std::min<std::uint64_t>(offset, bytes.size()));
            const std::size_t count = std::min(rest.size(), to.size());
            if (count > 0) std::memcpy(to.data(), rest.data(), count);
            return count;
          }};
}

void JaxCheckpoint::read(std::size_t index, std::span<std::byte> to) const {
  for (const Part& part : parts_.at(index)) {
    const std::span<std::byte> place = to.first(static_cast<std::size_t>(part.bytes));
    to = to.subspan(place.size());
    if (read_at_(part.offset, place) == place.size()) continue;
    refuse({.file = path_,
            .where = tensors_[index].name,
            .wanted = fmt::format("{} bytes", part.bytes),
            .found = "fewer: the file shrank while it was read",
            .remedy = "Wait until nothing writes to it, then try again."});
  }
}

}  // namespace ttt::weights
