// SPDX-License-Identifier: Apache-2.0
#include "weights/atomic_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

namespace ttt::weights {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& path, std::string_view call, int error) {
  throw std::system_error(error, std::generic_category(), fmt::format("cannot write {} ({})", path, call));
}

void sync_folder(const std::string& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail(folder, "open", errno);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  if (error != 0 && error != EINVAL) fail(folder, "fsync", error);  // some file systems cannot sync a folder
}

std::string parent_of(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

}  // namespace

AtomicFolder::AtomicFolder(std::string path) : path_(std::move(path)) {
  static std::atomic<unsigned> counter = 0;
  while (path_.size() > 1 && path_.ends_with('/')) path_.pop_back();
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path_, error);
  if (fs::exists(status)) {
    if (!fs::is_directory(status)) fail(path_, "it is no folder", ENOTDIR);
    if (!fs::is_empty(path_, error)) fail(path_, "it is not empty", error ? error.value() : ENOTEMPTY);
  }
  int result = -1;
  std::string temporary;
  do {
    temporary = fmt::format("{}/.ttt-{}-{}.tmp", parent_of(path_), ::getpid(), counter++);
    result = ::mkdir(temporary.c_str(), 0755);
  } while (result != 0 && errno == EEXIST);
  if (result != 0) fail(path_, "mkdir", errno);
  temporary_.set(std::move(temporary));
}

AtomicFolder::~AtomicFolder() {
  if (temporary_.empty()) return;
  std::error_code ignored;
  fs::remove_all(temporary_.path(), ignored);
}

std::string AtomicFolder::file(std::string_view name) const {
  return (fs::path(temporary_.path()) / name).string();
}

void AtomicFolder::commit() {
  sync_folder(temporary_.path());
  // Replaces an empty folder, and nothing else.
  if (::rename(temporary_.path().c_str(), path_.c_str()) != 0) fail(path_, "rename", errno);
  temporary_.clear();
  sync_folder(parent_of(path_));
}

}  // namespace ttt::weights
