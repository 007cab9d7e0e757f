// SPDX-License-Identifier: Apache-2.0
// The files of `ttt run --batch`: lines read one at a time in bounded memory, and records appended so that
// the file consists of whole lines whenever the program ends. What the lines mean: cli/batch.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace ttt::cli {

// An open file, closed with it unless it is a standard stream.
class Descriptor {
 public:
  explicit Descriptor(int value = -1) : value_(value) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;

  int value() const { return value_; }
  bool is_same_file(const Descriptor& other) const;  // one regular file, however it was opened

 private:
  int value_;
};

// "-" is stdin. Throws std::system_error.
Descriptor open_input(const std::string& path);

class LineReader {
 public:
  struct Line {
    std::uint64_t number = 0;  // from 1
    std::string text;          // without its newline; the first `max_bytes` of a longer one
    bool too_long = false;
    bool whole = false;  // ended by a newline
  };

  // Borrows the descriptor. `name` stands in messages.
  LineReader(int descriptor, std::string name, std::size_t max_bytes)
      : descriptor_(descriptor), name_(std::move(name)), max_bytes_(max_bytes) {}

  // Waits for the next line; empty at the end. Throws Interrupted, std::system_error.
  std::optional<Line> next();
  // Empty also where reading on would wait.
  std::optional<Line> next_if_ready();
  bool ended() const { return ended_ && begin_ == buffer_.size(); }
  std::uint64_t lines_read() const { return number_; }
  const std::string& name() const { return name_; }

 private:
  std::optional<Line> take();
  bool is_ready() const;
  void read_chunk();

  int descriptor_;
  std::string name_;
  std::size_t max_bytes_;
  std::string buffer_;
  std::size_t begin_ = 0;    // of the line that is read
  std::size_t scanned_ = 0;  // no newline in [begin_, scanned_)
  std::uint64_t number_ = 0;
  bool ended_ = false;
};

// What stands in an output file about a line of the input.
struct RecordedLine {
  std::string input_hash;
  bool is_error = false;
};
using RecordedLines = std::unordered_map<std::uint64_t, RecordedLine>;

class BatchOutput {
 public:
  enum class Mode : std::uint8_t { kNew, kReplace, kResume };

  // Throws UsageError for a file that is there unasked, std::runtime_error for one that another process
  // writes, std::system_error.
  BatchOutput(const std::string& path, Mode mode);  // "-": stdout

  // Reads the records that are there and cuts off a last line that is not whole. Throws std::runtime_error
  // for a file that holds anything else.
  RecordedLines recorded();
  // Removes what is there, with kReplace.
  void begin();
  // `line` with its newline, by one write() to a file where the system takes it whole. A failure takes back
  // what is there of the line, but from stdout and where that fails too: the next --resume cuts it off.
  // Throws std::system_error, Interrupted.
  void append(std::string_view line);
  void sync();  // to the disk

  const Descriptor& descriptor() const { return descriptor_; }
  const std::string& name() const { return name_; }
  bool is_resumable() const { return is_owned_file_; }

 private:
  [[noreturn]] void fail(const char* what, int error) const;
  void append_to_stdout(std::string_view line);

  Mode mode_;
  std::string name_;
  Descriptor descriptor_;
  bool is_stdout_;
  bool is_owned_file_ = false;  // a regular file that is not stdout
  std::uint64_t size_ = 0;
};

// Throws UsageError where something stands under `path` and `mode` does not say what to do with it: to be
// told before a model is opened.
void check_batch_output(const std::string& path, BatchOutput::Mode mode);

}  // namespace ttt::cli
