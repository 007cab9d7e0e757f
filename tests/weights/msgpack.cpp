// SPDX-License-Identifier: Apache-2.0
#include "weights/msgpack.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/jax_bytes.h"
#include "tests/weights/fixtures.h"

namespace ttt::weights {
namespace {

using namespace std::string_view_literals;
using enum MsgpackType;

MsgpackReader reader_of(std::string_view bytes) { return {bytes_of(bytes), "file", 0, bytes.size()}; }

MsgpackItem first(std::string_view bytes) { return reader_of(bytes).next(); }

std::string skip_refusal(std::string_view bytes) {
  return refusal_of([&] { reader_of(bytes).skip_value(); });
}

TEST_CASE("msgpack: integers of every form have their value") {
  const auto check = [](std::string_view bytes, MsgpackType type, std::int64_t value) {
    MsgpackReader reader = reader_of(bytes);
    const MsgpackItem item = reader.next();
    INFO(value);
    CHECK(item.type == type);
    CHECK(static_cast<std::int64_t>(item.number) == value);
    CHECK(reader.remaining() == 0);
  };
  check("\x00"sv, kUnsigned, 0);
  check("\x7f"sv, kUnsigned, 127);
  check("\xcc\xff"sv, kUnsigned, 255);
  check("\xcd\x01\x00"sv, kUnsigned, 256);
  check("\xce\xff\xff\xff\xff"sv, kUnsigned, 0xffffffff);
  check("\xcf\x00\x00\x00\x01\x00\x00\x00\x00"sv, kUnsigned, std::int64_t{1} << 32);
  check("\xff"sv, kNegative, -1);
  check("\xe0"sv, kNegative, -32);
  check("\xd0\x80"sv, kNegative, -128);
  check("\xd0\x7f"sv, kUnsigned, 127);
  check("\xd1\xff\x7f"sv, kNegative, -129);
  check("\xd2\x80\x00\x00\x00"sv, kNegative, -2147483648LL);
  check("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"sv, kNegative, std::numeric_limits<std::int64_t>::min());
  CHECK(first("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"sv).number == std::numeric_limits<std::uint64_t>::max());
}

TEST_CASE("msgpack: nil, booleans and floating-point numbers") {
  CHECK(first("\xc0"sv).type == kNil);
  CHECK(first("\xc2"sv).type == kBool);
  CHECK(first("\xc2"sv).number == 0);
  CHECK(first("\xc3"sv).number == 1);
  CHECK(first("\xca\x3f\xc0\x00\x00"sv).type == kFloat);
  CHECK(first("\xca\x3f\xc0\x00\x00"sv).real == 1.5);
  CHECK(first("\xcb\xc0\x04\x00\x00\x00\x00\x00\x00"sv).real == -2.5);
}

TEST_CASE("msgpack: strings, binaries and extensions of every form have their bytes") {
  const auto check = [](const std::string& header, MsgpackType type, std::size_t size, int extension = 0) {
    const std::string content(size, 'x');
    const std::string bytes = header + content;
    MsgpackReader reader = reader_of(bytes);
    const MsgpackItem item = reader.next();
    INFO(to_string(type) << " of " << size);
    CHECK(item.type == type);
    CHECK(item.size == size);
    CHECK(item.extension == extension);
    CHECK(item.has_payload());
    CHECK(reader.inside(item).remaining() == size);
    CHECK(reader.payload(item) == content);
    CHECK(reader.remaining() == 0);
    if (size > 0) CHECK_FALSE(skip_refusal(std::string_view(bytes).substr(0, bytes.size() - 1)).empty());
  };
  check("\xa0", kString, 0);
  check("\xbf", kString, 31);
  check("\xd9\x20", kString, 32);
  check("\xda\x01\x01", kString, 257);
  check(std::string("\xdb\x00\x01\x00\x01", 5), kString, 65'537);
  check("\xc4\x05", kBinary, 5);
  check("\xc5\x01\x01", kBinary, 257);
  check(std::string("\xc6\x00\x01\x00\x01", 5), kBinary, 65'537);
  check("\xd4\x01", kExtension, 1, 1);
  check("\xd5\xff", kExtension, 2, -1);
  check("\xd6\x7f", kExtension, 4, 127);
  check("\xd7\x80", kExtension, 8, -128);
  check("\xd8\x02", kExtension, 16, 2);
  check("\xc7\x03\x01", kExtension, 3, 1);
  check("\xc8\x01\x01\x01", kExtension, 257, 1);
  check(std::string("\xc9\x00\x01\x00\x01\x01", 6), kExtension, 65'537, 1);
}

TEST_CASE("msgpack: arrays and maps of every form have their counts") {
  const std::string nils(140'000, '\xc0');
  const auto count = [&](const std::string& header, MsgpackType type) {
    const std::string bytes = header + nils;
    const MsgpackItem item = first(bytes);
    CHECK(item.type == type);
    return item.size;
  };
  CHECK(count("\x90", kArray) == 0);
  CHECK(count("\x9f", kArray) == 15);
  CHECK(count("\xdc\x01\x02", kArray) == 258);
  CHECK(count(std::string("\xdd\x00\x01\x00\x02", 5), kArray) == 65'538);
  CHECK(count("\x80", kMap) == 0);
  CHECK(count("\x8f", kMap) == 15);
  CHECK(count("\xde\x01\x02", kMap) == 258);
  CHECK(count(std::string("\xdf\x00\x01\x00\x02", 5), kMap) == 65'538);
}

TEST_CASE("msgpack: a value is skipped with all that it holds") {
  const std::string nested = test::msgpack_map({{"a", test::msgpack_array({"\x01", "\x90", "\xc0"})},
                                                {"b", test::msgpack_map({{"c", "\x80"}})},
                                                {"d", test::msgpack_extension(1, "bytes")}});
  const std::string bytes = nested + "\x07";
  MsgpackReader reader = reader_of(bytes);
  reader.skip_value();
  CHECK(reader.position() == nested.size());
  CHECK(reader.next(kUnsigned).number == 7);
  for (std::size_t size = 0; size < nested.size(); ++size) {
    INFO("cut at " << size);
    CHECK_FALSE(skip_refusal(nested.substr(0, size)).empty());
  }
}

TEST_CASE("msgpack: a real stream cut at any byte is refused, but where a record ends") {
  const std::string bytes = test::sample_jax_stream();
  const auto read_all = [](std::string_view part) {
    MsgpackReader reader = reader_of(part);
    std::vector<std::uint64_t> ends;
    while (reader.remaining() > 0) {
      reader.skip_value();
      ends.push_back(reader.position());
    }
    return ends;
  };
  const std::vector<std::uint64_t> ends = read_all(bytes);
  REQUIRE(ends.size() == 5);
  for (std::size_t size = 1; size < bytes.size(); ++size) {
    const bool is_end = std::ranges::find(ends, size) != ends.end();
    INFO("cut at " << size);
    CHECK(refusal_of([&] { read_all(bytes.substr(0, size)); }).empty() == is_end);
  }
}

TEST_CASE("msgpack: no length and no count beyond the bytes left is believed") {
  for (const std::string_view header :
       {"\xc4\xff"sv, "\xc5\xff\xff"sv, "\xc6\xff\xff\xff\xff"sv, "\xd9\xff"sv, "\xda\xff\xff"sv,
        "\xdb\xff\xff\xff\xff"sv, "\xc7\xff\x01"sv, "\xc8\xff\xff\x01"sv, "\xc9\xff\xff\xff\xff\x01"sv,
        "\xdc\xff\xff"sv, "\xdd\xff\xff\xff\xff"sv, "\xde\xff\xff"sv, "\xdf\xff\xff\xff\xff"sv, "\x9f"sv,
        "\x8f"sv, "\xbf"sv, "\xd8\x01"sv}) {
    const std::string bytes = std::string(header) + "\x01";
    INFO(bytes.size());
    CHECK(contains(refusal_of([&] { first(bytes); }), "The file is damaged"));
  }
  // One byte less than the count says: a map has two values a pair.
  CHECK(refusal_of([] { first("\x92\x01\x01"); }).empty());
  CHECK_FALSE(refusal_of([] { first("\x92\x01"); }).empty());
  CHECK(refusal_of([] { first("\x81\x01\x01"); }).empty());
  CHECK_FALSE(refusal_of([] { first("\x81\x01"); }).empty());
}

TEST_CASE("msgpack: depth ends at 64, however deep the bytes go") {
  const auto nested = [](char level, std::size_t depth) { return std::string(depth, level) + "\xc0"; };
  CHECK(skip_refusal(nested('\x91', kMaxMsgpackDepth)).empty());
  CHECK(contains(skip_refusal(nested('\x91', kMaxMsgpackDepth + 1)), "at most 64 levels"));
  CHECK(contains(skip_refusal(nested('\x91', 1'000'000)), "at most 64 levels"));
  std::string maps;
  for (std::size_t i = 0; i < kMaxMsgpackDepth + 1; ++i) maps += "\x81\x01";
  CHECK(contains(skip_refusal(maps + "\x01"), "at most 64 levels"));
}

TEST_CASE("msgpack: what begins no value or is of another type is refused at its byte") {
  CHECK(contains(refusal_of([] { first("\xc1"); }), "byte 0: wanted a MessagePack value"));
  const std::string bytes = "\x01\xa1x";
  MsgpackReader reader = reader_of(bytes);
  reader.next();
  CHECK(contains(refusal_of([&] { reader.next(kArray); }), "byte 1: wanted an array, found a string"));
  CHECK(reader.next(kString).size == 1);  // a refusal did not move it
}

TEST_CASE("msgpack: bytes beyond the window are skipped, never read") {
  const std::string header = "\xc5\x10\x00";  // 4096 bytes, which the window does not have
  MsgpackReader reader(bytes_of(std::string_view(header.data(), 3)), "file", 1000, 1000 + 3 + 4096);
  const MsgpackItem item = reader.next(kBinary);
  CHECK(contains(refusal_of([&] { MsgpackReader(reader).payload(item); }), "headers of at most 3 bytes"));
  reader.skip_payload(item);
  CHECK(reader.position() == 1000 + 3 + 4096);
  CHECK(reader.remaining() == 0);
}

}  // namespace
}  // namespace ttt::weights
