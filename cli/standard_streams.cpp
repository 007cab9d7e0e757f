// SPDX-License-Identifier: Apache-2.0
#include "cli/standard_streams.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <system_error>

#include "cli/exit_code.h"
#include "cli/signals.h"

namespace ttt::cli {
namespace {

// Writes what it can; returns the bytes written before an error, which errno tells.
std::size_t write_some(int descriptor, std::string_view text) {
  const ssize_t count = ::write(descriptor, text.data(), text.size());
  return count < 0 ? 0 : static_cast<std::size_t>(count);
}

void print_line(std::string_view prefix, std::string_view sentence) {
  std::string line = fmt::format("ttt: {}{}\n", prefix, sentence);
  while (!line.empty()) {
    const std::size_t done = write_some(STDERR_FILENO, line);
    if (done == 0 && errno != EINTR) return;  // nowhere to report a failure
    line.erase(0, done);
  }
}

[[noreturn]] void fail(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), what);
}

std::string read_to_end(int descriptor, const std::string& name) {
  std::string text;
  std::array<char, 1U << 16> buffer;
  while (true) {
    wait_readable(descriptor);
    const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
    if (count == 0) return text;
    if (count > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      fail(errno, "cannot read " + name);
    }
  }
}

}  // namespace

// Never blocks in write(): a reader that does not read must not keep Ctrl-C from ending the program.
void write_stdout(std::string_view text) {
  while (!text.empty()) {
    wait_writable(STDOUT_FILENO);
    const std::size_t done = write_some(STDOUT_FILENO, text.substr(0, PIPE_BUF));
    text.remove_prefix(done);
    if (done > 0 || errno == EINTR || errno == EAGAIN) continue;
    if (errno == EPIPE) throw ClosedOutput();
    fail(errno, "cannot write to stdout");
  }
}

void end_text_on_terminal(std::string_view text) {
  if (stdout_is_terminal() && !text.ends_with('\n')) write_stdout("\n");
}

void print_error(std::string_view sentence) { print_line("error: ", sentence); }
void print_warning(std::string_view sentence) { print_line("warning: ", sentence); }
void print_notice(std::string_view sentence) { print_line("", sentence); }

bool stdin_is_terminal() { return isatty(STDIN_FILENO) == 1; }
bool stdout_is_terminal() { return isatty(STDOUT_FILENO) == 1; }
bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }

std::string read_input(const std::string& path) {
  if (path == "-") return read_to_end(STDIN_FILENO, "stdin");
  struct Descriptor {
    int value;
    ~Descriptor() {
      if (value >= 0) ::close(value);
    }
  };
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.value < 0) fail(errno, "cannot open " + path);
  return read_to_end(file.value, path);
}

}  // namespace ttt::cli
