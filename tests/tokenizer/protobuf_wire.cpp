// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/protobuf_wire.h"

#include <bit>
#include <catch2/catch.hpp>
#include <limits>

#include "tests/tokenizer/small_model.h"

namespace ttt::tokenizer {
namespace {

// Reads `message` to its end, as if it began at byte 100 of the file.
std::vector<WireField> fields_of(std::string_view message) {
  WireReader reader(message, 100, "m.model");
  std::vector<WireField> fields;
  while (const auto field = reader.next()) fields.push_back(*field);
  return fields;
}

TEST_CASE("what the writers write is read back") {
  std::string message;
  write_varint_field(message, 1, 0);
  write_varint_field(message, 40, std::numeric_limits<std::uint64_t>::max());
  write_float_field(message, 2, -1.5F);
  write_bytes_field(message, 536870911, std::string(300, 'x'));
  const auto fields = fields_of(message);
  REQUIRE(fields.size() == 4);
  CHECK(fields[0].value == 0);
  CHECK(fields[1].number == 40);
  CHECK(fields[1].value == std::numeric_limits<std::uint64_t>::max());
  CHECK(fields[2].type == WireType::kFixed32);
  CHECK(fields[2].value == std::bit_cast<std::uint32_t>(-1.5F));
  CHECK(fields[3].number == 536870911);
  CHECK(fields[3].bytes == std::string(300, 'x'));
  CHECK(fields[3].bytes_offset == 100 + message.size() - 300);
  CHECK(fields[1].offset == 102);
}

TEST_CASE("a fixed64 field is stepped over") {
  const auto fields = fields_of(std::string("\x09\1\0\0\0\0\0\0\x80\x10\7", 11));
  REQUIRE(fields.size() == 2);
  CHECK(fields[0].value == 0x8000000000000001U);
  CHECK(fields[1].value == 7);
}

TEST_CASE("every cut through a field is refused with its offset") {
  std::string message;
  write_varint_field(message, 1, 300);
  write_float_field(message, 2, 1.0F);
  write_bytes_field(message, 3, "hello");
  const auto whole = [&](std::size_t size) { return size == 0 || size == 3 || size == 8; };
  for (std::size_t size = 0; size < message.size(); ++size) {
    CAPTURE(size);
    if (whole(size)) {
      CHECK_NOTHROW(fields_of(message.substr(0, size)));
    } else {
      CHECK_THAT(refusal_of([&] { fields_of(message.substr(0, size)); }),
                 Catch::StartsWith("m.model: byte 1"));
    }
  }
}

TEST_CASE("malformed wire data is refused") {
  const std::string ten_ff(9, '\xFF');
  const std::pair<std::string, std::string> cases[] = {
      {std::string("\x00\x01", 2), "field number"},       // field 0
      {"\x80\x80\x80\x80\x10\x01", "field number"},       // field 2^29
      {"\x0B", "wire type"},                              // a group begins
      {"\x0C", "wire type"},                              // a group ends
      {"\x0E", "wire type"},                              // 6
      {"\x0F", "wire type"},                              // 7
      {"\x08" + ten_ff + "\x02", "at most 64 bits"},      // bit 64
      {"\x08" + ten_ff + "\x81\x01", "at most 64 bits"},  // eleven bytes
      {std::string("\x08\x80\x00", 3), "shortest form"},  // 0 in two bytes
      {std::string("\x88\x00\x01", 3), "shortest form"},  // a padded tag
      {"\x0A\xFF\xFF\xFF\xFF\x0F", "more bytes"},         // 4 GiB of text
      {"\x0A" + ten_ff + "\x01", "18446744073709551615 more bytes"},
      {"\x08", "the rest of a varint"},
  };
  for (const auto& [message, reason] : cases) {
    CAPTURE(message, reason);
    CHECK_THAT(refusal_of([&bytes = message] { fields_of(bytes); }), Catch::Contains(reason));
  }
}

}  // namespace
}  // namespace ttt::tokenizer
