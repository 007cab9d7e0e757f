// SPDX-License-Identifier: Apache-2.0
#include "weights/stored_zip.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "tests/weights/torch_files.h"

namespace ttt::weights {
namespace {

std::string zip_refusal(const std::string& bytes) {
  return refusal_of([&] {
    const StoredZip file = StoredZip::parse(bytes_of(bytes), "model.bin");
    for (std::size_t i = 0; i < file.members().size(); ++i)
      file.read(i, 0, file.members()[i].bytes, [](auto, auto) {});
  });
}
std::string zip_refusal(const std::vector<ZipMember>& members) { return zip_refusal(zip_bytes(members)); }

std::string read(const StoredZip& file, std::size_t member, std::uint64_t begin, std::uint64_t end) {
  std::string text;
  file.read(member, begin, end, [&](std::uint64_t offset, std::span<const std::byte> piece) {
    CHECK(offset == begin + text.size());
    CHECK(piece.size() <= StoredZip::kPieceBytes);
    text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  return text;
}

TEST_CASE("stored zip: members are listed, found and read, from a file and from memory") {
  const std::string bytes = zip_bytes(
      {{.name = "a/x", .bytes = "0123456789"}, {.name = "a/", .bytes = ""}, {.name = "b", .bytes = "z"}});
  const TemporaryFolder folder;
  const std::string path = folder.write("m.bin", bytes);
  for (const bool memory : {false, true}) {
    const StoredZip file = memory ? StoredZip::parse(bytes_of(bytes), path) : StoredZip::open(path);
    CHECK(file.path() == path);
    REQUIRE(file.members().size() == 3);
    CHECK(file.members()[0].name == "a/x");
    CHECK(file.members()[0].bytes == 10);
    CHECK(file.find("b") == std::size_t{2});
    CHECK_FALSE(file.find("a"));
    CHECK(read(file, 0, 3, 7) == "3456");  // the first time, for the checksum, the whole member
    CHECK(read(file, 0, 3, 7) == "3456");
    CHECK(read(file, 0, 0, 10) == "0123456789");
    CHECK(read(file, 0, 10, 10).empty());
    CHECK(read(file, 1, 0, 0).empty());
    CHECK(file.read_all(2, 1) == "z");
    CHECK(contains(refusal_of([&] { file.read_all(0, 9); }), "a/x: wanted at most 9 bytes, found 10"));
    CHECK_THROWS_AS(read(file, 0, 0, 11), std::logic_error);
  }
  CHECK(folder.names() == std::set<std::string>{"m.bin"});
}

TEST_CASE("stored zip: a large member comes in pieces") {
  std::string large(3 * StoredZip::kPieceBytes + 5, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 7919 >> 8);
  const std::string bytes = zip_bytes({{.name = "x", .bytes = large}});
  const StoredZip file = StoredZip::parse(bytes_of(bytes), "m.bin");
  const std::uint64_t begin = StoredZip::kPieceBytes - 3;
  const std::uint64_t end = 3 * StoredZip::kPieceBytes + 1;
  for (int time = 0; time < 2; ++time) CHECK(read(file, 0, begin, end) == large.substr(begin, end - begin));
}

TEST_CASE("stored zip: a name that could lead out of a folder is refused") {
  for (const char* name : {"../x", "/x", "a/../x", "a/..", "a//x", "./x", "a\\x", "..", "/", ""}) {
    INFO(name);
    CHECK(contains(zip_refusal({{.name = name, .bytes = "1"}}), "a plain path inside the archive"));
  }
  CHECK(zip_refusal({{.name = "a/..x/x..", .bytes = "1"}}).empty());
  CHECK(contains(zip_refusal({{.name = std::string(513, 'x'), .bytes = "1"}}),
                 "a plain path inside the archive"));
}

TEST_CASE("stored zip: what is not stored as it is, is refused") {
  CHECK(contains(zip_refusal({{.name = "x", .bytes = "1", .method = 8}}), "x: wanted stored bytes"));
  CHECK(contains(zip_refusal({{.name = "x", .bytes = "1", .flags = 1}}), "x: wanted stored bytes"));
}

TEST_CASE("stored zip: headers that contradict each other or the file are refused") {
  const ZipMember one{.name = "x", .bytes = "12345678"};
  CHECK(zip_refusal({one}).empty());
  ZipMember other = one;
  other.local_name = "y";
  CHECK(contains(zip_refusal({other}), "a whole zip archive"));
  other = one;
  other.size = 100'000;
  CHECK_FALSE(zip_refusal({other}).empty());
  other.size = 0xfffffff0U;
  CHECK_FALSE(zip_refusal({other}).empty());
  other = one;
  other.checksum = 1;
  CHECK(contains(zip_refusal({other}), "x: wanted bytes that agree with their checksum"));
  CHECK_FALSE(zip_refusal({one, one}).empty());  // the same name twice
  other = one;
  other.header_offset = 0;  // two names for one header
  other.name = "y";
  CHECK_FALSE(zip_refusal({one, other}).empty());
}

TEST_CASE("stored zip: members that overlap are refused") {
  // The second member's header and bytes lie inside the first's bytes.
  const std::string inner = zip_bytes({{.name = "b", .bytes = std::string(1000, 'b')}});
  const std::string hidden = inner.substr(0, 30 + 1 + 1000);
  const std::string bytes = zip_bytes(
      {{.name = "a", .bytes = hidden}, {.name = "b", .bytes = std::string(1000, 'b'), .header_offset = 31}});
  CHECK(contains(zip_refusal(bytes), "so that some overlap"));
}

TEST_CASE("stored zip: a cut archive and what is no archive are refused") {
  const std::string bytes = zip_bytes({{.name = "a/x", .bytes = "0123456789"}, {.name = "b", .bytes = "z"}});
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    INFO(size);
    CHECK_FALSE(zip_refusal(bytes.substr(0, size)).empty());
  }
  CHECK_FALSE(zip_refusal(bytes + "x").empty());
  const TemporaryFolder folder;
  CHECK(contains(refusal_of([&] { StoredZip::open(folder / "missing"); }), "no such file"));
  CHECK(contains(refusal_of([&] { StoredZip::open(folder.path()); }), "found a folder"));
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK(contains(refusal_of([&] { StoredZip::open(folder / "fifo"); }), "a pipe, socket or device"));
  CHECK(contains(refusal_of([&] { StoredZip::open(folder.write("text", "hello")); }), "a whole zip archive"));
}

}  // namespace
}  // namespace ttt::weights
