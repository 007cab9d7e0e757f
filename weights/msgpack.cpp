// SPDX-License-Identifier: Apache-2.0
#include "weights/msgpack.h"

#include <fmt/format.h>

#include <array>
#include <bit>

#include "weights/checkpoint_error.h"

namespace ttt::weights {

std::string_view to_string(MsgpackType type) {
  switch (type) {
    case MsgpackType::kNil:
      return "nil";
    case MsgpackType::kBool:
      return "a boolean";
    case MsgpackType::kUnsigned:
      return "a non-negative integer";
    case MsgpackType::kNegative:
      return "a negative integer";
    case MsgpackType::kFloat:
      return "a floating-point number";
    case MsgpackType::kString:
      return "a string";
    case MsgpackType::kBinary:
      return "binary data";
    case MsgpackType::kArray:
      return "an array";
    case MsgpackType::kMap:
      return "a map";
    case MsgpackType::kExtension:
      return "an extension value";
  }
  return "";
}

MsgpackReader::MsgpackReader(std::span<const std::byte> window, std::string_view file, std::uint64_t begin,
                             std::uint64_t end)
    : window_(window), file_(file), begin_(begin), position_(begin), end_(end) {}

void MsgpackReader::fail(std::string_view wanted, std::string_view found) const {
  refuse({.file = file_,
          .where = fmt::format("byte {}", position_),
          .wanted = wanted,
          .found = found,
          .remedy = "The file is damaged or was not written to its end: download or copy it again."});
}

void MsgpackReader::check_left(std::uint64_t wanted, std::string_view what) const {
  if (wanted > remaining()) fail(fmt::format("{} {}", wanted, what), fmt::format("{} bytes", remaining()));
}

const std::byte* MsgpackReader::take(std::uint64_t num_bytes) {
  check_left(num_bytes, "bytes");
  const std::uint64_t offset = position_ - begin_;
  if (offset > window_.size() || num_bytes > window_.size() - offset) {
    fail(fmt::format("names and headers of at most {} bytes in all", window_.size()), "longer ones");
  }
  position_ += num_bytes;
  return window_.data() + offset;
}

std::uint64_t MsgpackReader::big_endian(std::size_t num_bytes) {
  const std::byte* bytes = take(num_bytes);
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < num_bytes; ++i) value = (value << 8) | std::to_integer<std::uint64_t>(bytes[i]);
  return value;
}

MsgpackItem MsgpackReader::next() {
  using enum MsgpackType;
  const auto lead = std::to_integer<std::uint8_t>(*take(1));
  const auto sized = [this](MsgpackType type, std::uint64_t size) {
    if (type == kArray) check_left(size, "values of at least one byte each");
    if (type == kMap) check_left(2 * size, "keys and values of at least one byte each");
    if (type != kArray && type != kMap) check_left(size, "bytes of contents");
    return MsgpackItem{.type = type, .size = size};
  };
  const auto extension = [this](std::uint64_t size) {
    const auto kind = static_cast<std::int8_t>(std::to_integer<std::uint8_t>(*take(1)));
    check_left(size, "bytes of contents");
    return MsgpackItem{.type = kExtension, .size = size, .extension = kind};
  };
  const auto integer = [this](std::size_t width, bool is_signed) {
    std::uint64_t value = big_endian(width);
    const bool negative = is_signed && (value >> (8 * width - 1)) != 0;
    if (negative && width < 8) value |= ~std::uint64_t{0} << (8 * width);
    return MsgpackItem{.type = negative ? kNegative : kUnsigned, .number = value};
  };
  if (lead <= 0x7f) return {.type = kUnsigned, .number = lead};
  if (lead <= 0x8f) return sized(kMap, lead & 0x0fU);
  if (lead <= 0x9f) return sized(kArray, lead & 0x0fU);
  if (lead <= 0xbf) return sized(kString, lead & 0x1fU);
  if (lead >= 0xe0) return {.type = kNegative, .number = ~std::uint64_t{0xff} | lead};
  switch (lead) {
    case 0xc0:
      return {};
    case 0xc2:
    case 0xc3:
      return {.type = kBool, .number = lead & 1U};
    case 0xc4:
    case 0xc5:
    case 0xc6:
      return sized(kBinary, big_endian(std::size_t{1} << (lead - 0xc4U)));
    case 0xc7:
    case 0xc8:
    case 0xc9:
      return extension(big_endian(std::size_t{1} << (lead - 0xc7U)));
    case 0xca:
      return {.type = kFloat,
              .real = static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(big_endian(4))))};
    case 0xcb:
      return {.type = kFloat, .real = std::bit_cast<double>(big_endian(8))};
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
      return integer(std::size_t{1} << (lead - 0xccU), false);
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
      return integer(std::size_t{1} << (lead - 0xd0U), true);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
      return extension(std::uint64_t{1} << (lead - 0xd4U));
    case 0xd9:
    case 0xda:
    case 0xdb:
      return sized(kString, big_endian(std::size_t{1} << (lead - 0xd9U)));
    case 0xdc:
    case 0xdd:
      return sized(kArray, big_endian(std::size_t{2} << (lead - 0xdcU)));
    case 0xde:
    case 0xdf:
      return sized(kMap, big_endian(std::size_t{2} << (lead - 0xdeU)));
    default:  // 0xc1
      --position_;
      fail("a MessagePack value", "a byte that begins none (0xc1)");
  }
}

MsgpackItem MsgpackReader::next(MsgpackType wanted) {
  const std::uint64_t begin = position_;
  const MsgpackItem item = next();
  if (item.type == wanted) return item;
  position_ = begin;
  fail(to_string(wanted), to_string(item.type));
}

std::string_view MsgpackReader::payload(const MsgpackItem& item) {
  const std::byte* bytes = take(item.size);
  return {reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(item.size)};
}

void MsgpackReader::skip_payload(const MsgpackItem& item) {
  check_left(item.size, "bytes of contents");
  position_ += item.size;
}

void MsgpackReader::skip_value() {
  std::array<std::uint64_t, kMaxMsgpackDepth> open = {};  // values still to come, of each container
  std::size_t depth = 0;
  do {
    const MsgpackItem item = next();
    if (item.has_payload()) skip_payload(item);
    const bool is_container = item.type == MsgpackType::kArray || item.type == MsgpackType::kMap;
    if (is_container && item.size > 0) {
      if (depth == kMaxMsgpackDepth) {
        fail(fmt::format("at most {} levels of arrays and maps", kMaxMsgpackDepth), "more");
      }
      open[depth++] = item.type == MsgpackType::kMap ? 2 * item.size : item.size;
      continue;
    }
    while (depth > 0 && --open[depth - 1] == 0) --depth;
  } while (depth > 0);
}

MsgpackReader MsgpackReader::inside(const MsgpackItem& item) const {
  MsgpackReader reader = *this;
  reader.check_left(item.size, "bytes of contents");
  reader.end_ = position_ + item.size;
  return reader;
}

}  // namespace ttt::weights
