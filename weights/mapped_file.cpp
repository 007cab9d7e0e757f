// SPDX-License-Identifier: Apache-2.0
#include "weights/mapped_file.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

#include "weights/checkpoint_error.h"

namespace ttt::weights {
namespace {

// The whole file; no bytes, and errno, where the system refuses.
std::span<const std::byte> map_whole(const FileReader& file) {
  void* const address = ::mmap(nullptr, file.size(), PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (address == MAP_FAILED) return {};
  return {static_cast<const std::byte*>(address), file.size()};
}

[[noreturn]] void refuse_for_room(const FileReader& file, std::string_view call) {
  refuse({.file = file.path(),
          .wanted = fmt::format("room for {} bytes", file.size()),
          .found = fmt::format("{} ({})", std::generic_category().message(errno), call),
          .remedy = "Free some memory or raise the limit on address space."});
}

// The bytes from `offset` on that fill `to`, as the file had them when it was opened.
void read_unchanged(const FileReader& file, std::uint64_t offset, std::span<std::byte> to) {
  const std::size_t count = file.read_at(offset, to);
  if (count == to.size() && file.is_unchanged()) return;
  refuse({.file = file.path(),
          .wanted = fmt::format("the {} bytes that it had when it was opened", file.size()),
          .found = "that the file changed while it was read",
          .remedy = "Wait until nothing writes to it, then try again."});
}

std::span<const std::byte> read_whole(const FileReader& file) {
  void* const address =
      ::mmap(nullptr, file.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) refuse_for_room(file, "memory");
  const std::span<std::byte> buffer(static_cast<std::byte*>(address), file.size());
  ::madvise(address, buffer.size(), MADV_HUGEPAGE);  // advice: fresh small pages take longer than reading
  try {
    read_unchanged(file, 0, buffer);
  } catch (...) {
    ::munmap(address, buffer.size());
    throw;
  }
  return buffer;
}

}  // namespace

MappedFile::MappedFile(std::string path, FileAccess access) : path_(std::move(path)) {
  auto file = std::make_unique<const FileReader>(path_);
  if (file->size() == 0) {
    refuse({.file = path_,
            .found = "an empty file",
            .remedy = "It was probably not written to its end: download or convert it again."});
  }
  if (access != FileAccess::kRead) bytes_ = map_whole(*file);
  mapped_ = !bytes_.empty();
  if (!mapped_ && access == FileAccess::kMap) refuse_for_room(*file, "mmap");
  if (!mapped_) bytes_ = read_whole(*file);
  if (access == FileAccess::kReadParts) file_ = std::move(file);
}

MappedFile::~MappedFile() {
  if (bytes_.empty()) return;
  // munmap takes a non-const pointer; the pages were never handed out as writable.
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      bytes_(std::exchange(other.bytes_, {})),
      mapped_(other.mapped_),
      file_(std::move(other.file_)) {}

bool MappedFile::holds(std::span<const std::byte> part) const {
  const std::less_equal<const std::byte*> not_after;  // a total order, also over unrelated pointers
  return not_after(bytes_.data(), part.data()) &&
         not_after(part.data() + part.size(), bytes_.data() + bytes_.size());
}

std::size_t MappedFile::offset_of(std::span<const std::byte> part) const {
  return static_cast<std::size_t>(part.data() - bytes_.data());
}

void MappedFile::release(std::span<const std::byte> part) const {
  if (!mapped_ || !holds(part)) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t offset = offset_of(part);  // the map begins with a page
  const std::size_t first = (offset + page - 1) / page * page;
  const std::size_t last = (offset + part.size()) / page * page;
  // Advice only: a refusal by the system changes nothing that a caller could see.
  if (first < last) ::madvise(const_cast<std::byte*>(bytes_.data()) + first, last - first, MADV_DONTNEED);
}

bool MappedFile::read(std::span<const std::byte> part, std::span<std::byte> to) const {
  if (!file_ || part.size() != to.size()) throw std::logic_error("MappedFile::read: REQUIRES not met");
  if (!holds(part)) return false;
  read_unchanged(*file_, offset_of(part), to);
  return true;
}

std::string read_small_file(const std::string& path, std::size_t max_bytes) {
  const FileReader file(path);
  if (file.size() > max_bytes) {
    refuse({.file = path,
            .wanted = fmt::format("at most {} bytes", max_bytes),
            .found = fmt::format("{} bytes", file.size()),
            .remedy = "This is not a file of the kind its name says: download it again."});
  }
  std::string text(file.size(), '\0');
  text.resize(file.read_at(0, std::as_writable_bytes(std::span(text))));
  return text;
}

std::string read_prefix(const std::string& path, std::size_t max_bytes) {
  const FileReader file(path);
  std::string text(std::min<std::uint64_t>(file.size(), max_bytes), '\0');
  text.resize(file.read_at(0, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace ttt::weights
