// SPDX-License-Identifier: Apache-2.0
#include "weights/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <utility>

#include "tests/weights/fixtures.h"

namespace ttt::weights {
namespace {

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Pages of the range that this process maps, from its own page table: mincore would tell of the page cache.
std::size_t resident_pages(std::span<const std::byte> bytes) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<std::uint64_t> entries(bytes.size() / page);  // bit 63: present
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  REQUIRE(pagemap >= 0);
  const auto offset = reinterpret_cast<std::uintptr_t>(bytes.data()) / page * sizeof(entries[0]);
  const std::size_t size = entries.size() * sizeof(entries[0]);
  const ssize_t count = ::pread(pagemap, entries.data(), size, static_cast<off_t>(offset));
  ::close(pagemap);
  REQUIRE(count == static_cast<ssize_t>(size));
  return static_cast<std::size_t>(
      std::ranges::count_if(entries, [](std::uint64_t e) { return e >> 63 != 0; }));
}

constexpr FileAccess kAccesses[] = {FileAccess::kMap, FileAccess::kRead, FileAccess::kReadParts};

TEST_CASE("mapped file: a mapped and a read file have the same bytes") {
  const TemporaryFolder folder;
  const std::string content = std::string("some\0bytes", 10) + std::string(100'000, 'x');
  const std::string path = folder.write("file", content);
  for (const FileAccess access : kAccesses) {
    const MappedFile file(path, access);
    CHECK(file.path() == path);
    CHECK(text_of(file.bytes()) == content);
  }
}

TEST_CASE("mapped file: a read file does not change when the file on disk does") {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "before");
  const MappedFile file(path, FileAccess::kRead);
  folder.write("file", "after!");
  CHECK(text_of(file.bytes()) == "before");
}

TEST_CASE("mapped file: a moved file keeps its bytes and frees them once") {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "content");
  for (const FileAccess access : kAccesses) {
    MappedFile first(path, access);
    const MappedFile second(std::move(first));
    CHECK(text_of(second.bytes()) == "content");
  }
}

TEST_CASE("mapped file: release gives pages back and leaves the contents") {
  const TemporaryFolder folder;
  std::string content(1 << 20, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7);
  const std::string path = folder.write("file", content);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  for (const FileAccess access : {FileAccess::kMap, FileAccess::kRead}) {
    const MappedFile file(path, access);
    REQUIRE(text_of(file.bytes()) == content);
    if (access == FileAccess::kMap) CHECK(resident_pages(file.bytes()) == content.size() / page);
    file.release(file.bytes().subspan(1, content.size() - 2));
    if (access == FileAccess::kMap) CHECK(resident_pages(file.bytes()) == 2);  // the first and the last
    CHECK(text_of(file.bytes()) == content);
  }
}

TEST_CASE("mapped file: a part that is read is the file's and brings no page of the map into memory") {
  const TemporaryFolder folder;
  std::string content(1 << 20, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7);
  MappedFile opened(folder.write("file", content), FileAccess::kReadParts);
  const MappedFile file(std::move(opened));
  std::string part(content.size() - 5, '\0');
  CHECK(file.read(file.bytes().subspan(3, part.size()), std::as_writable_bytes(std::span(part))));
  CHECK(part == content.substr(3, part.size()));
  CHECK(resident_pages(file.bytes()) == 0);

  const std::string other = "other bytes";
  part = "untouched!!";
  CHECK_FALSE(file.read(std::as_bytes(std::span(other)), std::as_writable_bytes(std::span(part))));
  CHECK(part == "untouched!!");
  const MappedFile mapped(folder / "file", FileAccess::kMap);
  CHECK_THROWS_AS(mapped.read(mapped.bytes(), std::as_writable_bytes(std::span(part))), std::logic_error);
}

TEST_CASE("mapped file: a part of a file that was written since it was opened is refused") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  const auto refusal_after = [&](const std::function<void()>& change) {
    folder.write("file", std::string(100, 'a'));
    const MappedFile file(path, FileAccess::kReadParts);
    std::string part(10, '\0');
    change();
    return refusal_of([&] { file.read(file.bytes().first(10), std::as_writable_bytes(std::span(part))); });
  };
  constexpr std::string_view kChanged = "found that the file changed while it was read";
  CHECK(refusal_after([] {}).empty());
  CHECK(contains(refusal_after([&] { std::filesystem::resize_file(path, 5); }), kChanged));
  CHECK(contains(refusal_after([&] { std::filesystem::resize_file(path, 200); }), kChanged));
  const auto touch = [&] {
    std::filesystem::last_write_time(path, std::filesystem::last_write_time(path) + std::chrono::seconds(1));
  };
  CHECK(contains(refusal_after(touch), kChanged));
  CHECK(refusal_after([&] { std::filesystem::remove(path); }).empty());  // its bytes are there still
}

// Such are files of sysfs, and those of some network file systems.
TEST_CASE("mapped file: a file that cannot be mapped is read whole, and in parts") {
  const std::string path = "/sys/kernel/notes";
  std::string content;
  if (!refusal_of([&] { content = text_of(MappedFile(path, FileAccess::kRead).bytes()); }).empty() ||
      refusal_of([&] { MappedFile(path, FileAccess::kMap); }).empty()) {
    WARN("no file here that can be read and not mapped: not tested");
    return;
  }
  const MappedFile file(path, FileAccess::kReadParts);
  CHECK(text_of(file.bytes()) == content);
  std::string part(content.size() - 1, '\0');
  CHECK(file.read(file.bytes().subspan(1), std::as_writable_bytes(std::span(part))));
  CHECK(part == content.substr(1));
  file.release(file.bytes());
  CHECK(text_of(file.bytes()) == content);
}

TEST_CASE("mapped file: release leaves bytes alone that are not of the file") {
  const TemporaryFolder folder;
  const MappedFile file(folder.write("file", std::string(1 << 16, 'f')), FileAccess::kMap);
  constexpr std::size_t kSize = 1 << 16;
  void* const other = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(other != MAP_FAILED);
  std::memset(other, 'o', kSize);
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(other), kSize);
  file.release(bytes);
  CHECK(text_of(bytes) == std::string(kSize, 'o'));
  ::munmap(other, kSize);
}

TEST_CASE("mapped file: what is no readable regular file is refused at once") {
  const TemporaryFolder folder;
  const auto refusal = [](const std::string& path) {
    return refusal_of([&] { MappedFile(path, FileAccess::kMap); });
  };
  CHECK(contains(refusal(folder / "missing"), "no such file"));
  CHECK(contains(refusal(folder.path()), "found a folder"));
  CHECK(contains(refusal(folder.write("empty", "")), "an empty file"));
  CHECK(contains(refusal("/dev/null"), "a pipe, socket or device"));
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK(contains(refusal(folder / "fifo"), "a pipe, socket or device"));  // and does not wait for a writer
  if (::geteuid() != 0) {
    const std::string path = folder.write("secret", "x");
    ::chmod(path.c_str(), 0);
    CHECK(contains(refusal(path), "the right to read"));
  }
}

TEST_CASE("mapped file: a small file is read whole up to its limit") {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "12345");
  CHECK(read_small_file(path, 5) == "12345");
  CHECK(contains(refusal_of([&] { read_small_file(path, 4); }), "wanted at most 4 bytes, found 5 bytes"));
  CHECK(read_small_file(folder.write("empty", ""), 5).empty());
  CHECK(read_prefix(path, 3) == "123");
  CHECK(read_prefix(path, 100) == "12345");
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK_FALSE(refusal_of([&] { read_small_file(folder / "fifo", 5); }).empty());
}

}  // namespace
}  // namespace ttt::weights
