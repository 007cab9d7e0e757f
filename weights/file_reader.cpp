// SPDX-License-Identifier: Apache-2.0
#include "weights/file_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
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

}  // namespace

// O_NONBLOCK: a FIFO must not make the open wait for a writer.
FileReader::FileReader(std::string path) : path_(std::move(path)) {
  do {
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  } while (descriptor_ < 0 && errno == EINTR);
  if (descriptor_ < 0) refuse_errno(path_, "open", errno);
  struct stat status = {};
  if (::fstat(descriptor_, &status) != 0) {
    const int error = errno;
    ::close(descriptor_);
    refuse_errno(path_, "stat", error);
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    refuse({.file = path_,
            .wanted = "a regular file",
            .found = S_ISDIR(status.st_mode) ? "a folder" : "a pipe, socket or device",
            .remedy = "Give the path of the file itself."});
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
  modified_ = status.st_mtim;
}

FileReader::~FileReader() { ::close(descriptor_); }

bool FileReader::is_unchanged() const {
  struct stat status = {};
  return ::fstat(descriptor_, &status) == 0 && static_cast<std::uint64_t>(status.st_size) == size_ &&
         status.st_mtim.tv_sec == modified_.tv_sec && status.st_mtim.tv_nsec == modified_.tv_nsec;
}

std::size_t FileReader::read_at(std::uint64_t offset, std::span<std::byte> to) const {
  std::size_t done = 0;
  while (done < to.size()) {
    const ssize_t count =
        ::pread(descriptor_, to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) refuse_errno(path_, "read", errno);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

}  // namespace ttt::weights
