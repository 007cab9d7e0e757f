// SPDX-License-Identifier: Apache-2.0
#include "cli/batch_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>

#include "cli/exit_code.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "weights/checkpoint_error.h"
#include "weights/strict_json.h"

namespace ttt::cli {
namespace {

constexpr std::size_t kChunkBytes = 1U << 18;
constexpr std::size_t kMaxRecordBytes = 1U << 30;  // beyond kMaxRecordLogProbs and a line's text
// Every record begins so. A last line without a newline that does not is none of ours, and is not cut off.
constexpr std::string_view kRecordBegin = R"({"schema":1,"line":)";

[[noreturn]] void fail_system(const std::string& what, int error) {
  throw std::system_error(error, std::generic_category(), what);
}

bool is_regular(int descriptor) {
  struct stat status = {};
  return ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
}

bool is_empty(int descriptor) {
  struct stat status = {};
  return ::fstat(descriptor, &status) == 0 && status.st_size == 0;
}

// A pipe or a device is only written.
int open_output(const std::string& path) {
  if (path == "-") return STDOUT_FILENO;
  struct stat status = {};
  const bool is_file = ::stat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode);
  const int flags = is_file ? O_RDWR | O_CREAT | O_APPEND : O_WRONLY;
  return ::open(path.c_str(), flags | O_CLOEXEC, 0666);
}

[[noreturn]] void refuse_existing(const std::string& path) {
  throw UsageError(
      fmt::format("{} exists already; --resume adds the lines that it lacks, --force begins again", path));
}

// Takes the number, the hash and the kind out of a record.
class RecordReader : public weights::JsonListener {
 public:
  std::optional<std::uint64_t> line;
  std::optional<std::string> input_hash;
  bool is_error = false;

  void begin_object() override {
    if (depth_ == 1 && key_ == "error") is_error = true;
    ++depth_;
  }
  void begin_array() override { ++depth_; }
  void end() override { --depth_; }
  void key(std::string name) override {
    if (depth_ == 1) key_ = std::move(name);
  }
  void scalar(weights::JsonScalar value) override {
    if (depth_ != 1) return;
    if (key_ == "line" && std::holds_alternative<std::uint64_t>(value)) line = std::get<std::uint64_t>(value);
    if (key_ == "input_hash" && std::holds_alternative<std::string>(value)) {
      input_hash = std::get<std::string>(std::move(value));
    }
  }

 private:
  int depth_ = 0;
  std::string key_;
};

void add_record(RecordedLines& lines, const LineReader::Line& line, const std::string& name) {
  const std::string place = fmt::format("{}:{}", name, line.number);
  const std::string remedy = "It cannot be resumed: name another file, or begin again with --force";
  if (line.too_long) throw std::runtime_error(fmt::format("{}: the line is too long. {}", place, remedy));
  RecordReader record;
  const weights::JsonRules rules{.max_string_bytes = kMaxRecordBytes, .remedy = remedy};
  try {
    weights::parse_strict_json(line.text, place, record, rules);
  } catch (const weights::CheckpointError& error) {
    throw std::runtime_error(error.what());  // no fault of a model
  }
  if (!record.line || !record.input_hash) {
    throw std::runtime_error(
        fmt::format("{}: wanted a record of ttt run --batch with \"line\" and \"input_hash\", found "
                    "something else. {}",
                    place, remedy));
  }
  lines[*record.line] = {*std::move(record.input_hash), record.is_error};
}

}  // namespace

Descriptor::~Descriptor() {
  if (value_ > STDERR_FILENO) ::close(value_);
}

bool Descriptor::is_same_file(const Descriptor& other) const {
  struct stat mine = {};
  struct stat others = {};
  if (::fstat(value_, &mine) != 0 || ::fstat(other.value_, &others) != 0) return false;
  return S_ISREG(mine.st_mode) && mine.st_dev == others.st_dev && mine.st_ino == others.st_ino;
}

Descriptor open_input(const std::string& path) {
  if (path == "-") return Descriptor(STDIN_FILENO);
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail_system("cannot open " + path, errno);
  return Descriptor(descriptor);
}

std::optional<LineReader::Line> LineReader::next() {
  while (true) {
    if (auto line = take()) return line;
    if (ended_) return std::nullopt;
    wait_readable(descriptor_);
    read_chunk();
  }
}

std::optional<LineReader::Line> LineReader::next_if_ready() {
  while (true) {
    if (auto line = take()) return line;
    if (ended_ || !is_ready()) return std::nullopt;
    read_chunk();
  }
}

std::optional<LineReader::Line> LineReader::take() {
  const std::size_t newline = buffer_.find('\n', scanned_);
  scanned_ = std::min(newline, buffer_.size());
  const bool whole = newline != std::string::npos;
  if (!whole && (!ended_ || begin_ == buffer_.size())) return std::nullopt;
  const std::size_t size = scanned_ - begin_;
  Line line{++number_, buffer_.substr(begin_, std::min(size, max_bytes_)), size > max_bytes_, whole};
  begin_ = scanned_ = scanned_ + (whole ? 1 : 0);
  return line;
}

bool LineReader::is_ready() const {
  pollfd polled = {descriptor_, POLLIN, 0};
  return ::poll(&polled, 1, 0) > 0;
}

// REQUIRES: no newline in the buffer. Keeps one byte more of a line than it may have.
void LineReader::read_chunk() {
  buffer_.erase(0, begin_);
  begin_ = 0;
  buffer_.resize(std::min(buffer_.size(), max_bytes_ + 1));
  const std::size_t kept = scanned_ = buffer_.size();
  buffer_.resize(kept + kChunkBytes);
  const ssize_t count = ::read(descriptor_, buffer_.data() + kept, kChunkBytes);
  buffer_.resize(kept + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  if (count < 0 && errno != EINTR && errno != EAGAIN) fail_system("cannot read " + name_, errno);
  if (count == 0) ended_ = true;
}

void check_batch_output(const std::string& path, BatchOutput::Mode mode) {
  if (path == "-") {
    if (mode == BatchOutput::Mode::kResume) {
      throw UsageError("--resume continues a file: name it with -o FILE");
    }
    return;
  }
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return;
  if (S_ISDIR(status.st_mode)) throw UsageError(fmt::format("{} is a folder; name the file to write", path));
  if (!S_ISREG(status.st_mode)) {
    if (mode == BatchOutput::Mode::kNew) return;
    throw UsageError(fmt::format("{} is no file: --resume and --force do not go with it", path));
  }
  if (mode == BatchOutput::Mode::kNew && status.st_size > 0) refuse_existing(path);
}

BatchOutput::BatchOutput(const std::string& path, Mode mode)
    : mode_(mode),
      name_(path == "-" ? "stdout" : path),
      descriptor_(open_output(path)),
      is_stdout_(path == "-") {
  if (descriptor_.value() < 0) fail("cannot open", errno);
  is_owned_file_ = !is_stdout_ && is_regular(descriptor_.value());
  if (is_owned_file_ && ::flock(descriptor_.value(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    throw std::runtime_error(
        fmt::format("another process writes {} now; wait for it or name another file", name_));
  }
  // It may have come while the model was opened.
  if (is_owned_file_ && mode == Mode::kNew && !is_empty(descriptor_.value())) refuse_existing(path);
}

RecordedLines BatchOutput::recorded() {
  RecordedLines lines;
  if (mode_ != Mode::kResume || !is_owned_file_) return lines;
  LineReader reader(descriptor_.value(), name_, kMaxRecordBytes);
  while (const auto line = reader.next()) {
    if (line->whole) {
      add_record(lines, *line, name_);
      size_ += line->text.size() + 1;
      continue;
    }
    const std::size_t compared = std::min(line->text.size(), kRecordBegin.size());
    if (line->text.compare(0, compared, kRecordBegin, 0, compared) != 0) {
      throw std::runtime_error(fmt::format(
          "{}:{}: the last line has no newline and is no begin of a record. It cannot be resumed: name "
          "another file, or begin again with --force",
          name_, line->number));
    }
    if (::ftruncate(descriptor_.value(), static_cast<off_t>(size_)) != 0) fail("cannot truncate", errno);
  }
  return lines;
}

void BatchOutput::begin() {
  if (mode_ != Mode::kReplace || !is_owned_file_) return;
  if (::ftruncate(descriptor_.value(), 0) != 0) fail("cannot truncate", errno);
}

void BatchOutput::append(std::string_view line) {
  if (is_stdout_ && !is_regular(descriptor_.value())) return append_to_stdout(line);
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t count = ::write(descriptor_.value(), rest.data(), rest.size());
    if (count >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(count));
      continue;
    }
    const int error = errno;
    if (error == EINTR && is_owned_file_) continue;
    if (error == EINTR) {
      check_interrupted();
      continue;
    }
    // Where this fails too, the next --resume cuts off what is there of the line.
    if (is_owned_file_ && ::ftruncate(descriptor_.value(), static_cast<off_t>(size_)) != 0) {
      fail("cannot write to", error);
    }
    fail("cannot write to", error);
  }
  size_ += line.size();
}

void BatchOutput::append_to_stdout(std::string_view line) {
  try {
    write_stdout(line);
  } catch (const ClosedOutput&) {
    fail("cannot write to", EPIPE);
  }
}

void BatchOutput::sync() {
  if (is_owned_file_ && ::fdatasync(descriptor_.value()) != 0) fail("cannot sync", errno);
}

void BatchOutput::fail(const char* what, int error) const {
  fail_system(fmt::format("{} {}", what, name_), error);
}

}  // namespace ttt::cli
