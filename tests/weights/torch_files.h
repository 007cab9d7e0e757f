// SPDX-License-Identifier: Apache-2.0
// PyTorch files built byte by byte: zip archives with any lie in them, and pickles of state dicts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/weights/fixtures.h"

namespace ttt::weights {

struct ZipMember {
  std::string name;
  std::string bytes;
  std::uint16_t method = 0;  // stored
  std::uint16_t flags = 0;
  std::optional<std::string> local_name = {};       // another one in the local header
  std::optional<std::uint32_t> size = {};           // another one in both headers
  std::optional<std::uint32_t> checksum = {};       // another one in both headers
  std::optional<std::uint32_t> header_offset = {};  // another place of the local header; nothing is written
};

inline std::uint32_t crc32_of(std::string_view bytes) {
  std::uint32_t crc = ~0U;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1U ? 0xedb88320U : 0U);
  }
  return ~crc;
}

inline std::string zip_bytes(const std::vector<ZipMember>& members) {
  ByteBuilder file;
  ByteBuilder directory;
  for (const ZipMember& member : members) {
    const auto stored = static_cast<std::uint32_t>(member.bytes.size());
    ByteBuilder common;  // what both headers share
    common.value(std::uint16_t{20}).value(member.flags).value(member.method).value(std::uint32_t{0x00210000});
    common.value(member.checksum.value_or(crc32_of(member.bytes)));
    common.value(member.size.value_or(stored)).value(member.size.value_or(stored));
    const auto offset = static_cast<std::uint32_t>(file.bytes().size());
    directory.raw("PK\x01\x02").value(std::uint16_t{20}).raw(common.bytes());
    directory.value(static_cast<std::uint16_t>(member.name.size())).raw(std::string(12, '\0'));
    directory.value(member.header_offset.value_or(offset)).raw(member.name);
    if (member.header_offset) continue;
    const std::string& local_name = member.local_name ? *member.local_name : member.name;
    file.raw("PK\x03\x04").raw(common.bytes()).value(static_cast<std::uint16_t>(local_name.size()));
    file.value(std::uint16_t{0}).raw(local_name).raw(member.bytes);
  }
  const auto count = static_cast<std::uint16_t>(members.size());
  const auto offset = static_cast<std::uint32_t>(file.bytes().size());
  file.raw(directory.bytes()).raw("PK\x05\x06").value(std::uint32_t{0}).value(count).value(count);
  file.value(static_cast<std::uint32_t>(directory.bytes().size())).value(offset).value(std::uint16_t{0});
  return file.bytes();
}

// Pieces of a pickle of protocol 2.
namespace pickled {

inline std::string text(std::string_view content) {
  return ByteBuilder().raw("X").value(static_cast<std::uint32_t>(content.size())).raw(content).bytes();
}
inline std::string number(std::int64_t value) { return ByteBuilder().raw("\x8a\x08").value(value).bytes(); }
inline std::string global(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}
inline std::string tuple(const std::vector<std::string>& items) {
  std::string out = "(";
  for (const std::string& item : items) out += item;
  return out + "t";
}
inline std::string tuple(const Shape& numbers) {
  std::vector<std::string> items;
  for (const std::uint64_t value : numbers) items.push_back(number(static_cast<std::int64_t>(value)));
  return tuple(items);
}
// {name: value, ...} from pickled names and values.
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string out = "}(";
  for (const auto& [key, value] : items) out += text(key) + value;
  return out + "u";
}
inline std::string whole(std::string_view value) { return "\x80\x02" + std::string(value) + "."; }

struct Tensor {
  std::string storage = "FloatStorage";
  std::string key = "0";
  std::int64_t elements = 0;
  std::int64_t offset = 0;
  Shape shape = {};
  Shape strides = {};
  bool is_parameter = false;
};

inline std::string tensor(const Tensor& tensor) {
  const std::string storage = tuple({text("storage"), global("torch", tensor.storage), text(tensor.key),
                                     text("cpu"), number(tensor.elements)}) +
                              "Q";
  const std::string hooks = global("collections", "OrderedDict") + ")R";
  const std::string rebuilt =
      global("torch._utils", "_rebuild_tensor_v2") +
      tuple({storage, number(tensor.offset), tuple(tensor.shape), tuple(tensor.strides), "\x89", hooks}) +
      "R";
  if (!tensor.is_parameter) return rebuilt;
  return global("torch._utils", "_rebuild_parameter") + tuple({rebuilt, "\x88", hooks}) + "R";
}

}  // namespace pickled

// A file with this state dict and these storages, named "0", "1", ...
inline std::string torch_bytes(std::string_view pickle, const std::vector<std::string>& storages) {
  std::vector<ZipMember> members = {{.name = "m/data.pkl", .bytes = std::string(pickle)},
                                    {.name = "m/byteorder", .bytes = "little"},
                                    {.name = "m/version", .bytes = "3\n"}};
  for (std::size_t i = 0; i < storages.size(); ++i)
    members.push_back({.name = "m/data/" + std::to_string(i), .bytes = storages[i]});
  return zip_bytes(members);
}

}  // namespace ttt::weights
