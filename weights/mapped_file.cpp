// SPDX-License-Identifier: Apache-2.0
#include "weights/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <string_view>
#include <system_error>
#include <utility>

#include "weights/checkpoint_error.h"

namespace ttt::weights {
namespace {

[[noreturn]] void refuse_errno(const std::string& path, std::string_view call, int error) {
  const std::string reason = std::generic_category().message(error);
  if (error == ENOENT || error == ENOTDIR) {
    refuse({.file = path, .found = "no such file", .remedy = "Check the spelling of the path."});
  }
  if (error == EACCES) {
    refuse({.file = path, .found = reason, .remedy = "Give this user the right to read the file."});
  }
  refuse({.file = path,
          .where = call,
          .found = reason,
          .remedy = "Check that the file can be read, then try again."});
}

// A regular file open for reading. O_NONBLOCK: a FIFO must not make the open wait for a writer.
class OpenFile {
 public:
  explicit OpenFile(const std::string& path) : path_(path) {
    do {
      descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    } while (descriptor_ < 0 && errno == EINTR);
    if (descriptor_ < 0) refuse_errno(path, "open", errno);
    struct stat status = {};
    if (::fstat(descriptor_, &status) != 0) {
      const int error = errno;
      ::close(descriptor_);
      refuse_errno(path, "stat", error);
    }
    if (!S_ISREG(status.st_mode)) {
      ::close(descriptor_);
      refuse({.file = path,
              .wanted = "a regular file",
              .found = S_ISDIR(status.st_mode) ? "a folder" : "a pipe, socket or device",
              .remedy = "Give the path of the file itself."});
    }
    size_ = static_cast<std::size_t>(status.st_size);
  }
  ~OpenFile() { ::close(descriptor_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  int descriptor() const { return descriptor_; }
  std::size_t size() const { return size_; }

  // Reads until the buffer is full or the file ends; returns the number of bytes.
  std::size_t read(std::span<std::byte> buffer) const {
    std::size_t done = 0;
    while (done < buffer.size()) {
      const ssize_t count = ::read(descriptor_, buffer.data() + done, buffer.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) refuse_errno(path_, "read", errno);
      if (count == 0) break;
      done += static_cast<std::size_t>(count);
    }
    return done;
  }

 private:
  const std::string& path_;
  int descriptor_ = -1;
  std::size_t size_ = 0;
};

}  // namespace

MappedFile::MappedFile(std::string path, FileAccess access) : path_(std::move(path)) {
  const OpenFile file(path_);
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
  try {
    const std::size_t count = file.read(buffer);
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
  const OpenFile file(path);
  if (file.size() > max_bytes) {
    refuse({.file = path,
            .wanted = fmt::format("at most {} bytes", max_bytes),
            .found = fmt::format("{} bytes", file.size()),
            .remedy = "This is not a file of the kind its name says: download it again."});
  }
  std::string text(file.size(), '\0');
  text.resize(file.read(std::as_writable_bytes(std::span(text))));
  return text;
}

std::string read_prefix(const std::string& path, std::size_t max_bytes) {
  const OpenFile file(path);
  std::string text(std::min(file.size(), max_bytes), '\0');
  text.resize(file.read(std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace ttt::weights
