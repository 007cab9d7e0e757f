// SPDX-License-Identifier: Apache-2.0
#include "weights/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

#include "weights/checked.h"

namespace ttt::weights {
namespace {

std::function<int(std::string_view)>& fault() {
  static std::function<int(std::string_view)> function;
  return function;
}

// Runs one system call, again if a signal interrupted it. Returns its result, or -errno.
template <typename Call>
std::int64_t checked_call(std::string_view name, Call call) {
  for (;;) {
    int error = fault() ? fault()(name) : 0;
    if (error == 0) {
      const std::int64_t result = call();
      if (result >= 0) return result;
      error = errno;
    }
    if (error != EINTR) return -error;
  }
}

struct Descriptor {
  explicit Descriptor(int open_number) : number(open_number) {}
  ~Descriptor() { ::close(number); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  const int number;
};

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::system_error error_for(const std::string& path, std::string_view call, int error) {
  return {error, std::generic_category(), fmt::format("cannot write {} ({})", path, call)};
}

// The mode of the file that will be replaced, if there is one. Throws if rename would replace something
// that is no file; a symlink is judged by what it points to.
std::optional<mode_t> mode_to_keep(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  if (S_ISDIR(status.st_mode)) throw error_for(path, "it is a folder", EISDIR);
  if (!S_ISREG(status.st_mode)) throw error_for(path, "it is no regular file", EINVAL);
  return status.st_mode & 0777U;
}

}  // namespace

void set_atomic_file_fault(std::function<int(std::string_view)> function) { fault() = std::move(function); }

AtomicFile::AtomicFile(std::string path, mode_t mode) : path_(std::move(path)) {
  static std::atomic<unsigned> counter = 0;
  const std::optional<mode_t> kept = mode_to_keep(path_);
  // Other processes (containers with the same process number too) may hold a name; there are 2^32 of them.
  std::int64_t result = -EEXIST;
  std::string temporary;
  while (result == -EEXIST) {
    temporary = fmt::format("{}/.ttt-{}-{}.tmp", folder_of(path_), ::getpid(), counter++);
    result = checked_call("open", [&] {
      constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
      return ::open(temporary.c_str(), kFlags, kept ? 0600 : mode);
    });
  }
  if (result < 0) throw error_for(path_, "open", static_cast<int>(-result));
  descriptor_ = static_cast<int>(result);
  temporary_.set(std::move(temporary));
  if (!kept) return;
  result = checked_call("chmod", [&] { return ::fchmod(descriptor_, *kept); });
  if (result < 0) fail("chmod", static_cast<int>(-result));
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() noexcept {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  if (!temporary_.empty()) ::unlink(temporary_.path().c_str());
  temporary_.clear();
}

void AtomicFile::fail(std::string_view call, int error) {
  discard();
  throw error_for(path_, call, error);
}

void AtomicFile::write_all(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (descriptor_ < 0) fail("write", EBADF);
  while (!bytes.empty()) {
    const std::int64_t count = checked_call("write", [&] {
      return ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    });
    if (count <= 0) fail("write", count == 0 ? EIO : static_cast<int>(-count));
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  write_all(size_, bytes);
  size_ += bytes.size();
}

void AtomicFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (!range_fits(offset, bytes.size(), size_)) fail("write", EINVAL);
  write_all(offset, bytes);
}

void AtomicFile::commit(const std::function<void(const std::string& path)>& check) {
  if (descriptor_ < 0) fail("commit", EBADF);
  const auto require = [&](std::string_view name, std::int64_t result) {
    if (result < 0) fail(name, static_cast<int>(-result));
    return static_cast<int>(result);
  };
  require("fsync", checked_call("fsync", [&] { return ::fsync(descriptor_); }));
  if (check) ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_DONTNEED);  // advice: nothing depends on it
  require("close", checked_call("close", [&] {
            // Linux frees the descriptor even where close reports a signal; a second try could hit another's.
            const int result = ::close(std::exchange(descriptor_, -1));
            return result < 0 && errno == EINTR ? 0 : result;
          }));
  if (check) {
    try {
      check(temporary_.path());
    } catch (...) {
      discard();
      throw;
    }
  }
  const std::string folder = folder_of(path_);
  // Opened before the rename, so that one failure less can happen after it.
  const Descriptor directory(require("open_directory", checked_call("open_directory", [&] {
                                       return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                                     })));
  require("rename",
          checked_call("rename", [&] { return ::rename(temporary_.path().c_str(), path_.c_str()); }));
  temporary_.clear();
  require("fsync_directory", checked_call("fsync_directory", [&] {
            const int result = ::fsync(directory.number);
            return result < 0 && errno == EINVAL ? 0 : result;  // some file systems cannot sync a folder
          }));
}

}  // namespace ttt::weights
