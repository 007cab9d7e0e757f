// SPDX-License-Identifier: Apache-2.0
#include "weights/mapped_file.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <system_error>
#include <utility>

#include "weights/checkpoint_error.h"
#include "weights/file_reader.h"

namespace ttt::weights {

MappedFile::MappedFile(std::string path, FileAccess access) : path_(std::move(path)) {
  const FileReader file(path_);
  if (file.size() == 0) {
    refuse({.file = path_,
            .found = "an empty file",
            .remedy = "It was probably not written to its end: download or convert it again."});
  }
  mapped_ = access == FileAccess::kMap;
  void* const address =
      mapped_ ? ::mmap(nullptr, file.size(), PROT_READ, MAP_PRIVATE, file.descriptor(), 0)
              : ::mmap(nullptr, file.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) {
    const std::string found =
        fmt::format("{} ({})", std::generic_category().message(errno), mapped_ ? "mmap" : "memory");
    refuse({.file = path_,
            .wanted = fmt::format("room for {} bytes", file.size()),
            .found = found,
            .remedy = "Free some memory or raise the limit on address space."});
  }
  const std::span<std::byte> buffer(static_cast<std::byte*>(address), file.size());
  bytes_ = buffer;
  if (mapped_) return;
  ::madvise(address, buffer.size(), MADV_HUGEPAGE);  // advice: fresh small pages take longer than reading
  try {
    const std::size_t count = file.read_at(0, buffer);
    if (count != buffer.size()) {
      refuse({.file = path_,
              .wanted = fmt::format("{} bytes", buffer.size()),
              .found = fmt::format("{} bytes: the file shrank while it was read", count),
              .remedy = "Wait until nothing writes to it, then try again."});
    }
  } catch (...) {
    ::munmap(address, buffer.size());
    throw;
  }
}

MappedFile::~MappedFile() {
  if (bytes_.empty()) return;
  // munmap takes a non-const pointer; the pages were never handed out as writable.
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})), mapped_(other.mapped_) {}

void MappedFile::release(std::span<const std::byte> part) const {
  const std::less_equal<const std::byte*> not_after;  // a total order, also over unrelated pointers
  const bool inside = not_after(bytes_.data(), part.data()) &&
                      not_after(part.data() + part.size(), bytes_.data() + bytes_.size());
  if (!mapped_ || !inside) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const auto offset = static_cast<std::size_t>(part.data() - bytes_.data());  // the map begins with a page
  const std::size_t first = (offset + page - 1) / page * page;
  const std::size_t last = (offset + part.size()) / page * page;
  // Advice only: a refusal by the system changes nothing that a caller could see.
  if (first < last) ::madvise(const_cast<std::byte*>(bytes_.data()) + first, last - first, MADV_DONTNEED);
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
