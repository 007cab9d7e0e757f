// SPDX-License-Identifier: Apache-2.0
#include "weights/file_reader.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "tests/weights/fixtures.h"

namespace ttt::weights {
namespace {

TEST_CASE("file reader: any place is read, and no more than there is") {
  const TemporaryFolder folder;
  const FileReader file(folder.write("file", "0123456789"));
  const auto read = [&](std::uint64_t offset, std::size_t size) {
    std::string text(size, '?');
    text.resize(file.read_at(offset, std::as_writable_bytes(std::span(text))));
    return text;
  };
  CHECK(file.size() == 10);
  CHECK(read(0, 10) == "0123456789");
  CHECK(read(3, 4) == "3456");
  CHECK(read(8, 4) == "89");
  CHECK(read(10, 4).empty());
  CHECK(read(1ULL << 40, 4).empty());
  CHECK(read(2, 0).empty());
}

TEST_CASE("file reader: what is no regular file is refused") {
  const TemporaryFolder folder;
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK(contains(refusal_of([&] { FileReader(folder / "missing"); }), "no such file"));
  CHECK(contains(refusal_of([&] { FileReader(folder.path()); }), "a folder"));
  CHECK(contains(refusal_of([&] { FileReader(folder / "fifo"); }), "a pipe, socket or device"));
}

}  // namespace
}  // namespace ttt::weights
