// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/protobuf_wire.h"

#include <fmt/format.h>

#include <bit>

#include "tokenizer/refusal.h"

namespace ttt::tokenizer {
namespace {

constexpr std::uint64_t kMaxFieldNumber = (1U << 29) - 1;

void write_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

void write_tag(std::string& out, std::uint32_t number, WireType type) {
  write_varint(out, std::uint64_t{number} << 3 | static_cast<std::uint64_t>(type));
}

}  // namespace

WireReader::WireReader(std::string_view message, std::size_t base, std::string_view model)
    : message_(message), base_(base), model_(model) {}

std::optional<WireField> WireReader::next() {
  if (position_ == message_.size()) return std::nullopt;
  WireField field;
  field.offset = base_ + position_;
  const std::uint64_t tag = read_varint();
  const std::uint64_t number = tag >> 3;
  if (number == 0 || number > kMaxFieldNumber) {
    refuse_here("a field number from 1 to 536870911", fmt::format("{}", number));
  }
  field.number = static_cast<std::uint32_t>(number);
  field.type = static_cast<WireType>(tag & 7);
  switch (field.type) {
    case WireType::kVarint:
      field.value = read_varint();
      return field;
    case WireType::kFixed64:
      field.value = read_fixed(8);
      return field;
    case WireType::kFixed32:
      field.value = read_fixed(4);
      return field;
    case WireType::kBytes:
      field.bytes = read_bytes(read_varint());
      field.bytes_offset = base_ + position_ - field.bytes.size();
      return field;
  }
  refuse_here("wire type 0, 1, 2 or 5", fmt::format("{}", tag & 7));
}

std::uint64_t WireReader::read_varint() {
  std::uint64_t value = 0;
  for (unsigned shift = 0;; shift += 7) {
    if (position_ == message_.size()) refuse_here("the rest of a varint", "the end of the data");
    const auto byte = static_cast<unsigned char>(message_[position_++]);
    // The tenth byte carries bit 63 alone.
    if (shift == 63 && byte > 1) refuse_here("a varint of at most 64 bits", "a longer one");
    value |= std::uint64_t{byte & 0x7FU} << shift;
    if (byte >= 0x80) continue;
    if (byte == 0 && shift > 0) refuse_here("a varint in its shortest form", "a padded one");
    return value;
  }
}

std::uint64_t WireReader::read_fixed(std::size_t size) {
  std::uint64_t value = 0;
  const std::string_view bytes = read_bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    value |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

std::string_view WireReader::read_bytes(std::uint64_t size) {
  const std::size_t left = message_.size() - position_;
  if (size > left) {
    refuse_here(fmt::format("{} more bytes", size), fmt::format("{} before the end of the data", left));
  }
  const std::string_view bytes = message_.substr(position_, static_cast<std::size_t>(size));
  position_ += bytes.size();
  return bytes;
}

void WireReader::refuse_here(std::string_view wanted, std::string_view found) const {
  refuse({.model = model_,
          .where = fmt::format("byte {}", base_ + position_),
          .wanted = wanted,
          .found = found,
          .remedy = "The file is damaged or is no SentencePiece model; fetch it again."});
}

void write_varint_field(std::string& out, std::uint32_t number, std::uint64_t value) {
  write_tag(out, number, WireType::kVarint);
  write_varint(out, value);
}

void write_float_field(std::string& out, std::uint32_t number, float value) {
  write_tag(out, number, WireType::kFixed32);
  const auto bits = std::bit_cast<std::uint32_t>(value);
  for (unsigned shift = 0; shift < 32; shift += 8) out += static_cast<char>(bits >> shift & 0xFF);
}

void write_bytes_field(std::string& out, std::uint32_t number, std::string_view bytes) {
  write_tag(out, number, WireType::kBytes);
  write_varint(out, bytes.size());
  out += bytes;
}

}  // namespace ttt::tokenizer
